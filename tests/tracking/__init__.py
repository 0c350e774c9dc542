"""Tests of what leaves the driver: outbox, MLflow, registry."""
