"""Tests of `prvr_model/files`."""
