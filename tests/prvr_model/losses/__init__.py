"""Tests of `prvr_model/losses`."""
