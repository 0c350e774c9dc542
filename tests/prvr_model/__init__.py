"""Tests of `prvr_model`."""
