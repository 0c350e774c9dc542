"""Tests of `orchestrator/study`."""
