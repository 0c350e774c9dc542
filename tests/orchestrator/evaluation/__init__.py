"""Tests of `orchestrator/evaluation`."""
