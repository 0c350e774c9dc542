"""The memory that a plan expects of a trial, against the peak that the trial reports.

Run `python -m tests.benchmarks.memory_estimate --json`. Ten settings from all corners of the
spaces; each trial is a process of its own, as on Ray, since a peak is never given back. `ratio` is
estimate to peak; the claim is that each lies between 0.95 and 1.30.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from orchestrator.cluster.capacity import MemoryNeed
from orchestrator.preflight.estimate import worker_memory
from orchestrator.spec.data import data_size
from orchestrator.spec.sections import DataSource, TrialResources
from prvr_model.settings import SpeedSettings, build_settings

# Sizes of the data, then settings that differ from the published model's.
_DATA: dict[str, dict[str, int]] = {
    "builtin": {"train_videos": 160, "val_videos": 128, "video_dim": 64, "text_dim": 48},
    "charades": {"train_videos": 300, "val_videos": 100, "video_dim": 512, "text_dim": 512},
    "wide": {"train_videos": 300, "val_videos": 300, "video_dim": 1024, "text_dim": 768},
    "many": {"train_videos": 1200, "val_videos": 500, "video_dim": 256, "text_dim": 256},
}
_SMALL = {"model.hidden_size": 64, "training.batch_videos": 32, "model.merge_ratio": 0.75}
Case: TypeAlias = tuple[str, dict[str, Any]]
Precision: TypeAlias = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CASES: tuple[Case, ...] = (
    (
        "builtin",
        {
            **_SMALL,
            "model.num_frames": 64,
            "model.num_clips": 16,
            "losses.num_levels": 3,
            "model.num_scales": 1,
        },
    ),
    (
        "builtin",
        {
            **_SMALL,
            "model.num_frames": 64,
            "model.num_clips": 48,
            "losses.num_levels": 5,
        },
    ),
    ("builtin", {**_SMALL, "training.batch_videos": 128}),
    ("charades", {"model.hidden_size": 256, "training.batch_videos": 32}),
    ("charades", {"training.batch_videos": 16, "model.num_scales": 2}),
    ("charades", {"training.batch_videos": 64}),
    ("wide", {"model.hidden_size": 128, "training.batch_videos": 64}),
    ("wide", {"training.batch_videos": 32, "model.num_scales": 4}),
    ("many", {**_SMALL, "model.num_frames": 48}),
    ("many", {"model.hidden_size": 256, "model.num_scales": 1, "training.batch_videos": 128}),
)


def main() -> None:
    """Estimate, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many, from the first")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--trial", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trial:
        store, precision, changes = options.trial
        print(train_once(Path(store), precision, json.loads(changes)))
        return
    result = compare(options.cases, options.precisions)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


def compare(num_cases: int, precisions: Sequence[Precision] = PRECISIONS) -> dict[str, Any]:
    """The estimate and the peak of each case, in MB (10^6 bytes)."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for precision, case in product(precisions, CASES[:num_cases]):
            estimate_mb = expected_memory(case, precision).peak_bytes / 1e6
            peak_mb = _peak_mb(case, precision, Path(scratch))
            rows.append(
                {
                    "precision": precision,
                    "data": case[0],
                    "settings": case[1],
                    "estimate_mb": round(estimate_mb),
                    "peak_mb": round(peak_mb),
                    "ratio": round(estimate_mb / peak_mb, 3),
                }
            )
            # The whole takes minutes.
            print(rows[-1], file=sys.stderr)
    ratios = [row["ratio"] for row in rows]
    return {"cases": rows, "least_ratio": min(ratios), "largest_ratio": max(ratios)}


def expected_memory(case: Case, precision: Precision = "float32") -> MemoryNeed:
    """What a plan expects of a case's trial."""
    settings = build_settings(None, {**case[1], "training.epochs": 1})
    size = data_size(_source(case))
    speed = SpeedSettings(threads=1, precision=precision)
    return worker_memory([settings], size, speed, TrialResources())


def _source(case: Case) -> DataSource:
    return DataSource.model_validate({"synthetic": _DATA[case[0]]})


def _peak_mb(case: Case, precision: Precision, folder: Path) -> float:
    """Peak of a trial in a process of its own."""
    from orchestrator.cluster.ray_environment import ray_variables
    from prvr_model.store.synthetic import write_synthetic

    store, synthetic = folder / case[0], _source(case).synthetic
    if not store.exists():
        assert synthetic is not None
        write_synthetic(store, synthetic)
    command = [sys.executable, "-m", "tests.benchmarks.memory_estimate"]
    done = subprocess.run(
        [*command, "--trial", str(store), precision, json.dumps(case[1])],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **ray_variables(1)},
    )
    return float(done.stdout.split()[-1])


def train_once(store: Path, precision: Precision, changes: dict[str, Any]) -> float:
    """Train an epoch in this process; `memory/peak_mb`."""
    # What the process of a trial loads before its first step.
    from orchestrator.executors import tune_executor  # noqa: F401
    from prvr_model.files.folder import Folder
    from prvr_model.reporting import Decision, EpochReport
    from prvr_model.store.reader import FeatureStore
    from prvr_model.training.train_loop import train

    rows: list[EpochReport] = []

    def report(row: EpochReport) -> Decision:
        rows.append(row)
        return Decision.CONTINUE

    settings = build_settings(None, {**changes, "training.epochs": 1})
    with tempfile.TemporaryDirectory() as folder:
        train(
            settings,
            FeatureStore.open(store),
            Folder.open(folder),
            report,
            SpeedSettings(threads=1, precision=precision),
        )
    return rows[-1].metrics["memory/peak_mb"]


if __name__ == "__main__":
    main()
