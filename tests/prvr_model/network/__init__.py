"""Tests of `prvr_model/network`."""
