"""A sweep's results as Arrow tables, for notebooks and scripts.

Names and types of columns are stable; a column with a unit says it in its metadata (`unit`: s, ms,
percent, epochs, bytes, weights). Where a trial, an epoch or a query has no value, it is null.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import csv, ipc, parquet

from orchestrator.study.history import read_history
from orchestrator.study.outcomes import VALIDATION, epoch_ranks
from orchestrator.study.reader import StudyReader
from prvr_model.files.durable import replace_file
from prvr_model.reporting import BYTES_PER_VIDEO, MS_PER_QUERY, PARAMETERS

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

TableName: TypeAlias = Literal["trials", "epochs", "ranks", "queries"]

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
_TRIAL_COLUMNS = {
    "number": _WHOLE,
    "state": _TEXT,
    "value": _REAL,
    "best_epoch": _WHOLE,
    "epochs": _WHOLE,
    "seed": _WHOLE,
    "variant": _TEXT,
    "confirms": _WHOLE,
    "key": _TEXT,
    "folder": _TEXT,
    "taken_from": _TEXT,
    "cause": _TEXT,
    "over_limit": _TEXT,
    "started_ms": _WHOLE,
    "ended_ms": _WHOLE,
}
_EPOCH_COLUMNS = {"trial": _WHOLE, "epoch": _WHOLE, "timestamp_ms": _WHOLE}
_QUERY_COLUMNS = {
    "query": pa.int32(),
    "caption_id": _TEXT,
    "caption": _TEXT,
    "video": _TEXT,
    "duration_s": _REAL,
    "start_s": _REAL,
    "end_s": _REAL,
    "tokens": _WHOLE,
}
_UNITS = {
    "best_epoch": "epochs",
    "epochs": "epochs",
    PARAMETERS: "weights",
    BYTES_PER_VIDEO: "bytes",
    MS_PER_QUERY: "ms",
}
_PERCENT = ("SumR", "R1", "R5", "R10", "R100")


def trials_table(study: StudyReader) -> pa.Table:
    """One row per trial, by number.

    Returns:
        The columns `number`, `state`, `value` (best objective), `best_epoch`, `epochs`, `seed`,
        `variant` (row of an ablation), `confirms` (trial that it runs again), `key`, `folder`,
        `taken_from`, `cause`, `over_limit` (limits of cost that it exceeds, in words),
        `started_ms`, `ended_ms`, each cost that objectives and limits need, under its name, e.g.
        `cost/bytes_per_video`, and `parameters.<path>` for each parameter that any trial has.
    """
    goals = study.goals
    rows = [
        {
            "number": trial.number,
            "state": str(trial.state),
            "value": trial.value,
            "best_epoch": trial.best_epoch,
            "epochs": trial.epochs,
            "seed": trial.seed,
            "variant": trial.variant,
            "confirms": trial.confirms,
            "key": trial.key,
            "folder": trial.folder,
            "taken_from": trial.taken_from if trial.is_taken else None,
            "cause": trial.cause.kind if trial.cause else None,
            "over_limit": trial.over_limit or goals.over_limit(trial.costs),
            "started_ms": trial.started_ms,
            "ended_ms": trial.ended_ms,
            **{f"parameters.{path}": value for path, value in trial.parameters.items()},
            **{name: trial.costs.get(name) for name in goals.costs},
        }
        for trial in study.summaries()
    ]
    return _table(rows, _TRIAL_COLUMNS | dict.fromkeys(goals.costs, _REAL))


def epochs_table(study: StudyReader) -> pa.Table:
    """One row per epoch of each trial, by trial and epoch.

    Returns:
        The columns `trial`, `epoch`, `timestamp_ms`, and one for each metric, under its name.
    """
    rows = [
        {
            "trial": trial.number,
            "epoch": row.epoch,
            "timestamp_ms": row.timestamp_ms,
            **{name: float(value) for name, value in row.metrics.items()},
        }
        for trial in study.summaries()
        for row in read_history(study, trial).rows
    ]
    return _table(rows, _EPOCH_COLUMNS)


def ranks_table(study: StudyReader) -> pa.Table:
    """One row per validation query of each trial whose ranks can be read, by trial and query.

    Returns:
        The columns `trial`, `epoch` (its best), `query` (as in the table `queries`) and `rank` (of
        the query's best right video, from 1).
    """
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("trial", "epoch", "query", "rank")
    }
    for trial in study.summaries():
        ranks = epoch_ranks(trial, trial.best_epoch) if trial.best_epoch else None
        if ranks is None:
            continue
        for name, values in (
            ("trial", np.full(len(ranks), trial.number)),
            ("epoch", np.full(len(ranks), trial.best_epoch)),
            ("query", np.arange(len(ranks))),
            ("rank", ranks),
        ):
            columns[name].append(values.astype(np.int32))
    return pa.table(
        {name: np.concatenate([np.zeros(0, np.int32), *parts]) for name, parts in columns.items()}
    )


def queries_table(store: "FeatureStore") -> pa.Table:
    """One row per validation query of a store.

    Returns:
        The columns `query` (its number in the split, from 0), `caption_id`, `caption`, `video`,
        `duration_s` (of the video), `start_s` and `end_s` (of its first moment), `tokens`.
    """
    split = store.split(VALIDATION)
    rows = []
    for query, (caption_id, caption) in enumerate(
        zip(split.caption_ids, split.caption_texts, strict=True)
    ):
        video = int(split.caption_video[query])
        duration = float(split.durations_s[video])
        start, end = next(iter(split.moments[query]), (None, None))
        rows.append(
            {
                "query": query,
                "caption_id": caption_id,
                "caption": caption,
                "video": split.video_ids[video],
                "duration_s": None if np.isnan(duration) else duration,
                "start_s": start,
                "end_s": end,
                "tokens": int(split.num_tokens[query]),
            }
        )
    return _table(rows, _QUERY_COLUMNS)


def write_table(table: pa.Table, path: Path) -> None:
    """Write `.parquet`, `.csv` or `.arrow` (the IPC file format), replacing a file of the name.

    Raises:
        OSError: It cannot be written; an earlier file is intact.
    """
    content = io.BytesIO()
    if path.suffix == ".parquet":
        parquet.write_table(table, content)
    elif path.suffix == ".csv":
        csv.write_csv(table, content)
    else:
        with ipc.new_file(content, table.schema) as writer:
            writer.write_table(table)
    replace_file(path, content.getvalue())


def _table(rows: Iterable[Mapping[str, Any]], known: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table: the known columns, then every other that any row has.

    A column of mixed types becomes text.
    """
    listed = list(rows)
    names = dict.fromkeys([*known, *(name for row in listed for name in row)])
    columns = {name: _column([row.get(name) for row in listed], known.get(name)) for name in names}
    fields = [
        pa.field(name, column.type, metadata={"unit": unit} if (unit := _unit(name)) else None)
        for name, column in columns.items()
    ]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def _unit(name: str) -> str | None:
    if name in _UNITS:
        return _UNITS[name]
    if name.rpartition("/")[2] in _PERCENT:
        return "percent"
    return next((unit for unit in ("ms", "s") if name.endswith(f"_{unit}")), None)


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])
