"""Tests of prvr-sweep."""
