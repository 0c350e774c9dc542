"""The trials and epochs of a sweep as Arrow tables, for notebooks and scripts."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from orchestrator.study.history import read_history
from orchestrator.study.reader import StudyReader


def trials_table(study: StudyReader) -> pa.Table:
    """One row per trial, by number.

    Returns:
        The columns `number`, `state`, `value`, `best_epoch`, `epochs`, `seed`, `variant`, `key`,
        `folder`, `taken_from`, `cause`, `started_ms`, `ended_ms`, and `parameters.<path>` for each
        parameter that any trial has; null where a trial has none.
    """
    return _table(
        {
            "number": trial.number,
            "state": str(trial.state),
            "value": trial.value,
            "best_epoch": trial.best_epoch,
            "epochs": trial.epochs,
            "seed": trial.seed,
            "variant": trial.variant,
            "key": trial.key,
            "folder": trial.folder,
            "taken_from": trial.taken_from if trial.is_taken else None,
            "cause": trial.cause.kind if trial.cause else None,
            "started_ms": trial.started_ms,
            "ended_ms": trial.ended_ms,
            **{f"parameters.{path}": value for path, value in trial.parameters.items()},
        }
        for trial in study.summaries()
    )


def epochs_table(study: StudyReader) -> pa.Table:
    """One row per epoch of each trial, by trial and epoch.

    Returns:
        The columns `trial`, `epoch`, `timestamp_ms`, and one for each metric, under its name; null
        where an epoch's metrics are lost.
    """
    return _table(
        {
            "trial": trial.number,
            "epoch": row.epoch,
            "timestamp_ms": row.timestamp_ms,
            **row.metrics,
        }
        for trial in study.summaries()
        for row in read_history(study, trial).rows
    )


def _table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table with every column that any row has; a column of mixed types becomes text."""
    listed = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)
    return pa.table({name: _column([row.get(name) for row in listed]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])
