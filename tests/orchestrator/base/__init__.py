"""Tests of `orchestrator/base`."""
