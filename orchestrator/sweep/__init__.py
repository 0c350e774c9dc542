"""Runs a sweep and looks after it.

`launch` and `resume` run its trials, publish the report and register the best models; `submit`
sends it to a cluster, `status` shows it, `sync` brings MLflow up to date, `reproduce` trains a
trial again, `free_checkpoints` frees its storage.
"""
