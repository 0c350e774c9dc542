"""Trains the table of small trials with the real train loop.

What ends is kept in a scratch file beside the table, so that a recording that was killed goes on;
the Parquet file is written once all have ended.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from orchestrator.base.installation import package_versions
from orchestrator.spec.search_space import grid_points, resolve
from orchestrator.study.content_key import trial_key
from prvr_model.files.folder import Folder
from prvr_model.reporting import Decision, EpochReport
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import Settings, SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from prvr_model.store.writer import StoreWriter
from prvr_model.training.train_loop import train
from tests.benchmarks.measure import ended
from tests.benchmarks.recorded_trials import (
    METRIC,
    SYNTHETIC,
    TVR_MINI,
    column,
    memory,
    recorded_spec,
)

_GENERATED = SyntheticSettings(train_videos=128, val_videos=96, test_videos=1)
# Of tvr_mini: videos and captions of each; the first ones.
_PART = {"train": (128, 3), "val": (160, 3), "test": (1, 1)}
# Nobody continues these trials: one checkpoint, at the end.
_SPEED = SpeedSettings(checkpoint_every_epochs=1000)


@dataclass(frozen=True)
class _Task:
    data: str
    fingerprint: str
    seed: int
    parameters: Mapping[str, Any]
    stores: Path

    @property
    def settings(self) -> Settings:
        spec = recorded_spec(self.data)
        return resolve(spec, {**self.parameters, "training.seed": self.seed})

    @property
    def key(self) -> str:
        return trial_key(self.settings, self.fingerprint, _SPEED)

    def run(self) -> dict[str, Any]:
        """Train the trial; its row, as JSON has it."""
        values: list[float] = []

        def report(row: EpochReport) -> Decision:
            values.append(row.metrics[METRIC])
            return Decision.CONTINUE

        begin = time.process_time()
        with tempfile.TemporaryDirectory(dir=self.stores) as folder:
            store = FeatureStore.open(self.stores / self.data)
            train(self.settings, store, Folder.open(folder), report, _SPEED)
        seconds = time.process_time() - begin
        point = {column(path): self.parameters.get(path) for path in recorded_spec(self.data).space}
        own = {"data": self.data, "seed": self.seed, **point}
        return {"key": self.key, **own, METRIC: values, "seconds": seconds}


def record(
    path: Path, tvr_mini: Path | None, seeds: Iterable[int], processes: int, points: int | None
) -> None:
    """Train all trials that are not known yet, and write the table.

    Args:
        path: The table.
        tvr_mini: Store of `tvr_mini`; None: generated data alone.
        seeds: Seeds of training; all points with the first, then all with the next.
        processes: Trials at once, a thread each.
        points: How many points; None: all.
    """
    scratch = path.with_suffix(".rows.jsonl")
    with tempfile.TemporaryDirectory(prefix="recording-", dir=memory()) as folder:
        stores = Path(folder)
        about = {SYNTHETIC: _generate(stores / SYNTHETIC)}
        if tvr_mini is not None:
            about[TVR_MINI] = _cut(FeatureStore.open(tvr_mini), stores / TVR_MINI)
        wanted = [
            _Task(data, trained_on["fingerprint"], seed, point, stores)
            for seed in seeds
            for data, trained_on in about.items()
            for point in grid_points(recorded_spec(data))[:points]
        ]
        known = {row["key"]: row for row in _rows(scratch)}
        with scratch.open("a") as file:
            lacking = [task.run for task in wanted if task.key not in known]
            for row in ended(lacking, processes):
                file.write(json.dumps(row) + "\n")
                file.flush()
                known[row["key"]] = row
    _write(path, [known[task.key] for task in wanted], about)


def _rows(scratch: Path) -> Sequence[dict[str, Any]]:
    """Rows of an earlier recording; one that was torn is trained again."""
    text = scratch.read_text() if scratch.exists() else ""
    rows = []
    for line in text.splitlines():
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    scratch.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _generate(path: Path) -> dict[str, Any]:
    manifest = write_synthetic(path, _GENERATED)
    return {"generated": _GENERATED.model_dump(), "fingerprint": manifest.fingerprint}


def _cut(whole: FeatureStore, path: Path) -> dict[str, Any]:
    """A store of the first videos and captions of another one."""
    with StoreWriter(
        path,
        name=whole.manifest.name,
        video_dim=whole.manifest.video_dim,
        text_dim=whole.manifest.text_dim,
        source={"kind": "part"},
    ) as writer:
        for name, (videos, captions) in _PART.items():
            split = whole.split(name)
            left = dict.fromkeys(range(videos), captions)
            for video in left:
                writer.add_video(name, split.video_ids[video], split.frames(video))
            for caption, video in enumerate(split.caption_video.tolist()):
                if left.get(video, 0):
                    left[video] -= 1
                    writer.add_caption(
                        name,
                        split.caption_ids[caption],
                        split.video_ids[video],
                        split.caption_texts[caption],
                        split.tokens(caption),
                    )
    part = {name: {"videos": videos, "captions": each} for name, (videos, each) in _PART.items()}
    return {"first": part, "fingerprint": writer.manifest.fingerprint}


def _write(path: Path, rows: list[dict[str, Any]], about: Mapping[str, Any]) -> None:
    """The table, with types, units and what was trained."""
    spec = recorded_spec(SYNTHETIC)
    text = {path for path, parameter in spec.space.items() if parameter.type == "categorical"}
    fields = [
        pa.field("data", pa.string()),
        pa.field("seed", pa.int32()),
        *(
            pa.field(column(path), pa.string() if path in text else pa.float64())
            for path in spec.space
        ),
        pa.field(METRIC, pa.list_(pa.float32(), spec.max_epochs), metadata={"unit": "percent"}),
        pa.field("seconds", pa.float32(), metadata={"unit": "s"}),
    ]
    recorded = {
        "what": "Trials of python -m tests.benchmarks.search_quality --record",
        "specs": {data: recorded_spec(data).dump_yaml() for data in about},
        "data": about,
        "versions": package_versions(),
        "results_version": RESULTS_VERSION,
        "threads": 1,
    }
    schema = pa.schema(fields, {"recorded": json.dumps(recorded)})
    partial = path.with_suffix(".partial")
    parquet.write_table(pa.Table.from_pylist(rows, schema), partial, compression="zstd")
    shutil.move(partial, path)
