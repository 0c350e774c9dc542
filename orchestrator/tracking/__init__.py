"""What MLflow shows of a sweep, and the registry of models. Only this room imports MLflow.

A driver appends events to the outbox; the sender reads them on a thread of its own, a view turns
them into changes of runs, and the writer sends these: MLflow can never hurt a trial.
`registry` keeps a trial's weights as a version of a model and decides which one is the champion.

Offers `events`, `outbox`, `sender` and `view`; `missing_events` and `outbox_rebuild` (what an
outbox lacks); `registry` with `model_version`; `downloads` (fetches a version); `store` (where
MLflow is), `lookup` and `run_filters` (find runs), `evaluation_runs`, `run_change` (records),
`faults` (why MLflow does not answer), `tags` and `ui`.
"""
