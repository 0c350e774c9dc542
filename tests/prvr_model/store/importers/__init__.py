"""Tests of `prvr_model/store/importers`."""
