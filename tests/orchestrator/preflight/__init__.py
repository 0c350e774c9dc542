"""Tests of `orchestrator/preflight`."""
