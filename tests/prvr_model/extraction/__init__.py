"""Tests of the room that makes features."""
