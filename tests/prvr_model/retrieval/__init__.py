"""Tests of `prvr_model/retrieval`."""
