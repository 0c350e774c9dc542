"""Tests of `orchestrator/executors`."""
