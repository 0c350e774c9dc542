"""Tests of `orchestrator/spec`."""
