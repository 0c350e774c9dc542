"""Tests of `orchestrator/tracking`."""
