"""Tests of `prvr_model/training`."""
