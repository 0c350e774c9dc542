"""A table of real small trials: every point of a space, trained on each of two data sets.

`tests.benchmarks.recording` trained it; the metadata of its schema say what was trained, on what
and with which versions.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from pyarrow import parquet

from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.yaml_text import dump_yaml
from prvr_model.reporting import EpochReport

TABLE = Path(__file__).parent / "search_trials.parquet"
"""The recorded table."""
METRIC = "val/SumR"
SYNTHETIC, TVR_MINI = "synthetic", "tvr_mini"
_BRANCH, _TAU_PATH = "losses.cross_branch", "losses.tau"

# Ranges in which the rates and weights matter, found by trying single ones. 32 hidden, two scales
# and 128 training videos keep a trial at 2 to 3 s on a core.
_SPEC = """
name: search-quality
question: Which sampler and which pruner find a good setting with the fewest epochs?
data: builtin
settings:
  model.hidden_size: 32
  model.num_frames: 32
  model.num_clips: 16
  model.num_scales: 2
  model.dropout: 0
  losses.cbva_weight: 0.4
  losses.num_levels: 2
  losses.smallest_level: 4
  losses.hard_negative_epoch: null
  training.batch_videos: 32
  training.patience_epochs: null
  optimizer.schedule_epochs: 9
search:
  sampler: grid
  parameters:
    optimizer.learning_rate: {{type: float, low: 0.001, high: 0.009, step: 0.002}}
    model.input_dropout: {{type: float, low: 0.0, high: 0.4, step: 0.2}}
    losses.margin: {{type: float, low: 0.1, high: 0.5, step: 0.2}}
    model.merge_ratio: {{type: float, low: 0.4, high: 1.0, step: 0.3}}
    losses.cross_branch: {{type: categorical, choices: [fixed, adaptive]}}
    losses.tau: {{type: float, {tau}, when: {{losses.cross_branch: adaptive}}}}
early_stopping: {{method: none, first_rung: 3, reduction: 3, max_epochs: 9}}
"""
# Of both values some videos get other segments than of the other, and than without tau.
_TAU = {SYNTHETIC: "low: 0.2, high: 0.4, step: 0.2", TVR_MINI: "low: 0.5, high: 0.7, step: 0.2"}


@dataclass(frozen=True)
class RecordedTrials:
    """What every point of the space reported on one data set.

    Args:
        data: Name of the data set.
        spec: The space, as a sweep that runs all of it.
        seeds: Seeds of training.
        values: The objective by point, seed and epoch.
        seconds: Processor time of a trial by point, means over seeds.
    """

    data: str
    spec: SweepSpec
    seeds: tuple[int, ...]
    values: Mapping[str, Float[np.ndarray, "seeds epochs"]]
    seconds: Mapping[str, float]

    @classmethod
    def read(cls, path: Path, data: str) -> Self:
        """The trials of a data set in a table that `record` wrote."""
        table = parquet.read_table(path)
        spec = read_spec(_metadata(table)["specs"][data], (), str(path), path.parent)
        values: dict[str, dict[int, list[float]]] = {}
        seconds: dict[str, list[float]] = {}
        for row in table.to_pylist():
            if row["data"] == data:
                point = point_name({path: row[column(path)] for path in spec.space})
                values.setdefault(point, {})[row["seed"]] = row[METRIC]
                seconds.setdefault(point, []).append(row["seconds"])
        assert len(values) == spec.num_points, f"{path}: {len(values)} of {spec.num_points} points"
        seeds = sorted(set.intersection(*({*rows} for rows in values.values())))
        return cls(
            data,
            spec,
            tuple(seeds),
            {point: np.array([rows[seed] for seed in seeds]) for point, rows in values.items()},
            {point: float(np.mean(took)) for point, took in seconds.items()},
        )

    @cached_property
    def truth(self) -> dict[str, float]:
        """A point's value: its best epoch's, as a trial's is, in the mean over seeds."""
        return {point: float(rows.max(1).mean()) for point, rows in self.values.items()}

    @cached_property
    def best(self) -> float:
        """Value of the best point."""
        return max(self.truth.values())

    def on_other_seeds(self, seed: int) -> dict[str, float]:
        """A point's value on the seeds that a sweep of this one does not see."""
        others = [k for k, other in enumerate(self.seeds) if other != seed] or [0]
        return {point: float(rows[others].max(1).mean()) for point, rows in self.values.items()}

    def reports(self, parameters: Mapping[str, Any], seed: int) -> tuple[EpochReport, ...]:
        """What a trial of a point and a seed reported."""
        values = self.values[point_name(parameters)][self.seeds.index(seed)]
        return tuple(
            EpochReport(epoch, {METRIC: float(value)}, epoch)
            for epoch, value in enumerate(values, 1)
        )

    def epoch_s(self, parameters: Mapping[str, Any]) -> float:
        """Processor time of an epoch of a point, in seconds."""
        return self.seconds[point_name(parameters)] / self.spec.max_epochs

    def numbers_alone(self) -> Self:
        """The trials with adaptive segments, in whose space there are numbers alone."""
        values = self.spec.dump_values()
        parameters = values["search"]["parameters"]
        del parameters[_BRANCH], parameters[_TAU_PATH]["when"]
        values["settings"][_BRANCH] = "adaptive"
        spec = read_spec(dump_yaml(values), (), self.data, Path.cwd())
        names = {
            point: point_name({path: value for path, value in known.items() if path != _BRANCH})
            for point in self.values
            if (known := json.loads(point))[_BRANCH] == "adaptive"
        }
        return replace(
            self,
            spec=spec,
            values={name: self.values[point] for point, name in names.items()},
            seconds={name: self.seconds[point] for point, name in names.items()},
        )

    def figures(self) -> dict[str, float]:
        """How far points differ, and seeds of one point."""
        best = np.array([rows.max(1) for rows in self.values.values()])
        found = {
            "points": len(best),
            "worst": float(best.mean(1).min()),
            "mean": float(best.mean()),
            "best": float(best.mean(1).max()),
            "points_sd": float(best.mean(1).std(ddof=1)),
            "trial_s": float(np.mean([*self.seconds.values()])),
        }
        if len(self.seeds) > 1:
            # What a seed does to all points alike changes no choice between them.
            apart = best - best.mean(0)
            found["seed_sd"] = float(np.sqrt(apart.var(1, ddof=1).mean()))
            found["seeds_correlation"] = float(np.corrcoef(best.T)[0, 1])
        return found


def point_name(parameters: Mapping[str, Any]) -> str:
    """A point's name; parameters without a value are no part of it."""
    known = {path: value for path, value in sorted(parameters.items()) if value is not None}
    return json.dumps(known)


def column(path: str) -> str:
    """The column of a parameter."""
    return f"parameters.{path}"


def _metadata(table: pa.Table) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(table.schema.metadata[b"recorded"])
    return found


@cache
def recorded_spec(data: str) -> SweepSpec:
    """The sweep that runs the whole space on a data set."""
    return read_spec(_SPEC.format(tau=_TAU[data]), (), "recorded_trials.py", Path.cwd())


def memory() -> Path | None:
    """A folder in memory, where there is one: trials wait for no disk."""
    found = Path("/dev/shm")
    return found if os.access(found, os.W_OK) else None
