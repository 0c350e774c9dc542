"""Tests of `orchestrator/serving`."""
