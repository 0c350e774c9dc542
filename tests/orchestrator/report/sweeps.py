"""Small finished sweeps for the tests of the report: fake trials with real folders."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file as save_array
from safetensors.torch import save_file

from orchestrator.spec.data import open_data
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.outcomes import validation_videos
from orchestrator.study.trial import TrialRequest
from orchestrator.sweep.run import SweepResult
from prvr_model.reporting import EpochReport, Report
from tests.orchestrator.helpers import run_sweep

LADDER = """\
name: small
question: Which steps are real?
data: {synthetic: {train_videos: 4, val_videos: 24, test_videos: 4}}
settings: {training.epochs: 3, optimizer.schedule_epochs: 3, losses.hard_negative_epoch: null}
ablation:
  design: ladder
  baseline: {set: {losses.margin: 0.1}}
  variants:
    better: {losses.margin: 0.3}
    same & <b>: {losses.tau: 0.7}
  seeds: 4
"""
SEARCH = """\
name: small
question: Which tau?
data: {synthetic: {train_videos: 4, val_videos: 24, test_videos: 4}}
settings: {training.epochs: 2, optimizer.schedule_epochs: 2, losses.hard_negative_epoch: null}
search:
  sampler: random
  seed: 3
  trials: 24
  parameters:
    losses.tau: {type: float, low: 0.5, high: 0.9}
    losses.margin: {type: float, low: 0.1, high: 0.4}
    losses.cross_branch: {type: categorical, choices: [fixed, adaptive]}
"""
EIGHT = """\
name: small
question: Which of eight parameters?
data: {synthetic: {train_videos: 4, val_videos: 24, test_videos: 4}}
settings: {training.epochs: 1, optimizer.schedule_epochs: 1, losses.hard_negative_epoch: null,
  model.merge_ratio: 0.75, losses.num_levels: 5}
search:
  sampler: random
  seed: 7
  trials: 24
  parameters:
    losses.tcpl_distance_weight: {type: float, low: 4, high: 60, log: true}
    losses.cbva_weight: {type: float, low: 0.025, high: 0.4, log: true}
    optimizer.learning_rate: {type: float, low: 1e-5, high: 1e-2, log: true}
    losses.tau: {type: float, low: 0.5, high: 0.95, step: 0.05}
    losses.margin: {type: float, low: 0.1, high: 0.4}
    model.num_clips: {type: int, low: 16, high: 48, step: 8}
    losses.cross_branch: {type: categorical, choices: [fixed, adaptive]}
    model.dropout: {type: categorical, choices: [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]}
"""


class TrialDiedError(RuntimeError):
    """What a failing trial raises."""


def trained(request: TrialRequest, report: Report) -> None:
    """Writes what training writes: ranks of every epoch and a checkpoint with all rows.

    A margin of 0.3 ranks far better; whatever else is set makes no difference but noise.
    """
    settings = request.settings
    folder = Path(request.folder.removeprefix("file://"))
    (folder / "ranks").mkdir(parents=True, exist_ok=True)
    queries = len(_queries(request.store))
    share = 0.7 if settings.losses.margin >= 0.3 else 0.3
    noise = np.random.default_rng([settings.training.seed, request.number])
    rows: list[EpochReport] = []
    for epoch in range(1, settings.training.epochs + 1):
        hits = noise.random(queries) < share * epoch / settings.training.epochs
        ranks = np.where(hits, 1, 50).astype(np.int32)
        save_array({"ranks": ranks}, folder / "ranks" / f"epoch-{epoch:04d}.safetensors")
        rows.append(EpochReport(epoch, _metrics(ranks), 1000 + epoch))
        _save(folder, rows)
        report(rows[-1])


def failing(request: TrialRequest, report: Report) -> None:
    """As `trained`, but every fourth trial fails after its first epoch."""
    trained(request, report)
    if request.number % 4 == 1:
        raise TrialDiedError(f"no room for {request.number} tensors")


def dying(request: TrialRequest, report: Report) -> None:
    """Fails at once."""
    raise TrialDiedError(f"no room for {request.number} tensors")


def _queries(store: str) -> np.ndarray:
    from prvr_model.store.reader import FeatureStore

    return np.asarray(FeatureStore.open(Path(store)).split("val").caption_video)


def _metrics(ranks: np.ndarray) -> dict[str, float]:
    recalls = {f"R{depth}": float((ranks <= depth).mean() * 100) for depth in (1, 5, 10, 100)}
    recalls["SumR"] = sum(recalls.values())
    return {
        **{f"val/{name}": value for name, value in recalls.items()},
        **{f"val/clip/{name}": value - 1 for name, value in recalls.items()},
        **{f"val/frame/{name}": value - 2 for name, value in recalls.items()},
        "val/collapse/query_difference": 0.5,
        "val/collapse/query_spearman": 0.6,
        "val/collapse/clip_difference": 0.7,
        "time/epoch_s": 2.0,
        "time/evaluation_s": 0.5,
    }


def _save(folder: Path, rows: Sequence[EpochReport]) -> None:
    kept = [{"epoch": r.epoch, "metrics": r.metrics, "timestamp_ms": r.timestamp_ms} for r in rows]
    state = json.dumps({"format_version": 1, "state": {"reports": kept}})
    tensors = {"model.weight": torch.zeros(3, 7), "optimizer.m.weight": torch.zeros(3, 7)}
    save_file(tensors, folder / "last.safetensors", metadata={"prvr_sweep": state})


def run(home: Path, text: str, *overrides: str, function: str = "trained") -> SweepResult:
    """Run a sweep of fake trials to its end, in this process."""
    spec = spec_of(text, *overrides)
    store = open_data(spec.data, home, lambda _: None)
    return run_sweep(
        spec,
        store.path,
        store.manifest.fingerprint,
        home,
        executor="inline",
        function=f"tests.orchestrator.report.sweeps:{function}",
        videos=lambda: validation_videos(store),
    )


def spec_of(text: str, *overrides: str) -> SweepSpec:
    """The spec with `--set` overrides."""
    return read_spec(text, overrides)
