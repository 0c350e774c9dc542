"""Measurements; each prints one JSON object on one line of stdout."""
