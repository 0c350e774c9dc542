"""Small finished sweeps for the tests of the report: fake trials with real folders."""

import json
from collections.abc import Mapping, Sequence
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
from orchestrator.tracking.outbox import EventSink
from prvr_model.reporting import BYTES_PER_VIDEO, TRAIN_S, EpochReport, Report
from prvr_model.retrieval.costs import bytes_per_video
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.reader import FeatureStore, StoreSplit
from prvr_model.store.writer import StoreWriter
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


COSTLY = """\
name: small
question: How much recall does a byte buy?
data: {synthetic: {train_videos: 4, val_videos: 24, test_videos: 4}}
settings: {training.epochs: 2, optimizer.schedule_epochs: 2, losses.hard_negative_epoch: null,
  model.num_frames: 32, model.merge_ratio: 0.75, losses.num_levels: 2}
objectives: [{metric: val/SumR}, {metric: cost/bytes_per_video}]
limits: {cost/bytes_per_video: 20000, cost/train_s: 50}
crown: knee
search:
  sampler: random
  seed: 3
  trials: 12
  parameters:
    model.hidden_size: {type: categorical, choices: [16, 32, 64, 128]}
    model.num_clips: {type: int, low: 8, high: 16, step: 4}
"""


def typed_store(path: Path) -> Path:
    """Videos of 10 or of 50 s with three captions each, of two types, in one space with them.

    Captions of the first six videos are of type `t`, of the others those of every third `vt` and of
    the rest `v`; every first caption is right for the next video as well.
    """
    rng = np.random.default_rng(3)
    with StoreWriter(path, name="typed", video_dim=4, text_dim=4) as writer:
        for split, count in (("train", 2), ("val", 40), ("test", 2)):
            for number in range(count):
                rows = rng.standard_normal((5, 4))
                writer.add_video(split, f"{split}{number}", rows, 10.0 if number % 2 else 50.0)
            for caption in range(3 * count):
                number, own = caption // 3, f"{split}{caption // 3}"
                other = f"{split}{(number + 1) % count}"
                kind = "t" if number < 6 and split == "val" else ("vt", "v", "v")[number % 3]
                relevant = [own, other] if caption % 3 == 0 else [own]
                known = CaptionAnnotation([(1.0, 4.0 + caption % 3)], relevant, kind)
                text = "word " * (1 + caption % 4)
                tokens = rng.standard_normal((2, 4))
                writer.add_caption(split, f"{own}#{caption}", own, text, tokens, known)
    return path


class TrialDiedError(RuntimeError):
    """What a failing trial raises."""


def trained(request: TrialRequest, report: Report) -> None:
    """Writes what training writes: ranks of every epoch and a checkpoint with all rows.

    A margin of 0.3 ranks far better; whatever else is set makes no difference but noise.
    """
    queries = len(_val(request).caption_ids)
    gain = 0.4 * (request.settings.losses.margin >= 0.3)
    _train(request, report, np.full(queries, 0.3 + gain))


def costly(request: TrialRequest, report: Report) -> None:
    """As `trained`, but wider models rank better, and those of 64 with 12 clips take long."""
    model = request.settings.model
    shares = {16: 0.35, 32: 0.7, 64: 0.8, 128: 0.9}
    is_slow = (model.hidden_size, model.num_clips) == (64, 12)
    costs = {BYTES_PER_VIDEO: float(bytes_per_video(model)), TRAIN_S: 80.0 if is_slow else 8.0}
    queries = len(_val(request).caption_ids)
    _train(request, report, np.full(queries, shares[model.hidden_size]), costs)


def of_types(request: TrialRequest, report: Report) -> None:
    """As `trained`, but a margin of 0.3 gains for queries of type `v` and loses for type `vt`."""
    gains = {"v": 0.4, "vt": -0.35, "t": 0.0}
    gain = np.array([gains[name] for name in _val(request).query_types])
    _train(request, report, 0.5 + gain * (request.settings.losses.margin >= 0.3))


def _train(
    request: TrialRequest,
    report: Report,
    shares: np.ndarray,
    costs: Mapping[str, float] | None = None,
) -> None:
    """Ranks a query first with a probability of its own, which the last epoch has in full."""
    settings = request.settings
    folder = Path(request.folder.removeprefix("file://"))
    (folder / "ranks").mkdir(parents=True, exist_ok=True)
    is_labelled = _val(request).has_labels
    noise = np.random.default_rng([settings.training.seed, request.number])
    rows: list[EpochReport] = []
    for epoch in range(1, settings.training.epochs + 1):
        hits = noise.random(len(shares)) < shares * epoch / settings.training.epochs
        ranks = np.where(hits, 1, 50).astype(np.int32)
        kept = {"ranks": ranks, "clip": ranks, "frame": np.roll(ranks, 1)}
        metrics = _metrics(ranks) | dict(costs or {})
        if is_labelled:
            # One of two right videos is in the place of the own one, the other right behind it.
            kept |= {"verified": ranks, "verified_mAP": np.where(hits, 100.0, 3.0).astype("f4")}
            kept["verified_nDCG10"] = np.where(hits, 100.0, 0.0).astype("f4")
            metrics |= {
                name.replace("val/", "val/verified/"): value
                for name, value in metrics.items()
                if name.count("/") == 1 and name.startswith("val/")
            }
            for name in ("mAP", "nDCG10"):
                metrics[f"val/verified/{name}"] = float(kept[f"verified_{name}"].mean())
        save_array(kept, folder / "ranks" / f"epoch-{epoch:04d}.safetensors")
        rows.append(EpochReport(epoch, metrics, 1000 + epoch))
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


def _val(request: TrialRequest) -> StoreSplit:
    return FeatureStore.open(Path(request.store)).split("val")


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


def run(
    home: Path,
    text: str,
    *overrides: str,
    function: str = "trained",
    sink: EventSink | None = None,
) -> SweepResult:
    """Run a sweep of fake trials to its end, in this process."""
    spec = spec_of(text, *overrides)
    store = open_data(spec.data, home, lambda _: None)
    return run_sweep(
        spec,
        store.path,
        store.manifest.fingerprint,
        home,
        sink=sink,
        executor="inline",
        function=f"tests.orchestrator.report.sweeps:{function}",
        videos=lambda: validation_videos(store),
        manifest=store.manifest,
    )


def spec_of(text: str, *overrides: str) -> SweepSpec:
    """The spec with `--set` overrides."""
    return read_spec(text, overrides)
