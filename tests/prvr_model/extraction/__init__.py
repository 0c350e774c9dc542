"""Tests of `prvr_model/extraction`."""
