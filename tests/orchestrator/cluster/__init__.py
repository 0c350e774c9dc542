"""Tests of `orchestrator/cluster`."""
