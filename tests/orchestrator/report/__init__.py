"""Tests of `orchestrator/report`."""
