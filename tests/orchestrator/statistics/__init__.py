"""Tests of `orchestrator/statistics`."""
