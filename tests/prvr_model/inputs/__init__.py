"""Tests of `prvr_model/inputs`."""
