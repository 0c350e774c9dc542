"""Tests of `orchestrator/commands`."""
