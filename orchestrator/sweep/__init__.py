"""Runs a sweep and looks after it.

`launch` and `resume` run its trials, publish the report and register the best models; `submit`
sends it to a cluster, `status` shows it, `sync` brings MLflow up to date, `promotion` registers a
trial by hand, `reproduce` trains a trial again and makes its `epoch_comparison`,
`free_checkpoints` frees its storage.

Offers these, `context` (a running sweep as one object), `handle` (the Python API), `locations`
(where a sweep keeps things), `extension` and `budget` (more to do, and what it may cost), and
`progress`.
"""
