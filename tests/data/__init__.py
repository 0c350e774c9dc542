"""Tests of stores, importers and generated data."""
