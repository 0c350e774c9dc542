"""Tests of `orchestrator/cluster/file`."""
