"""The training loop: repeatable, resumable at any epoch, and stopped before harm."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_numpy

from prvr_model.errors import CheckpointError, NonFiniteError, StoreError
from prvr_model.files.checkpoint_header import LAST
from prvr_model.files.folder import Folder
from prvr_model.inputs.batching import make_batch
from prvr_model.losses.objective import LossTerms, compute_losses, loss_term_names
from prvr_model.network.model_file import load_best
from prvr_model.reporting import MEASURED, Decision, EpochReport
from prvr_model.retrieval.evaluation import evaluate_saved
from prvr_model.retrieval.metrics import recalls
from prvr_model.settings import Settings, SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from prvr_model.training import train_loop
from prvr_model.training.checkpoint import BEST, read_state
from prvr_model.training.step_numbers import StepNumbers, reader_for
from prvr_model.training.train_loop import TrainResult, step_number_names, train
from tests.cases import rest_in_soak
from tests.prvr_model.files.slow_reader import DeafReader, SlowReader
from tests.prvr_model.tiny import TINY_DATA, tiny_settings, write_labelled
from tests.prvr_model.training.steps import first_order, train_steps
from tests.prvr_model.training.sync_detector import META, SyncDetector

Row = tuple[int, dict[str, float]]


class HostStoppedError(Exception):
    """What a host raises in the middle of a report, as Ray raises SystemExit."""


def go_on(_: EpochReport) -> Decision:
    return Decision.CONTINUE


def stop_after(epoch: int) -> Callable[[EpochReport], Decision]:
    return lambda row: Decision.STOP if row.epoch >= epoch else Decision.CONTINUE


def raise_after(epoch: int) -> Callable[[EpochReport], Decision]:
    def report(row: EpochReport) -> Decision:
        if row.epoch >= epoch:
            raise HostStoppedError
        return Decision.CONTINUE

    return report


def rows(result: TrainResult) -> list[Row]:
    """Rows without what a clock or the machine decides."""
    return [
        (
            row.epoch,
            {k: v for k, v in row.metrics.items() if not k.startswith(MEASURED)},
        )
        for row in result.reports
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "trial")


@pytest.fixture(scope="session")
def uninterrupted(tiny_store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The tiny trial in one piece."""
    folder = Folder.open(tmp_path_factory.mktemp("whole"))
    return train(tiny_settings(), FeatureStore.open(tiny_store_path), folder, go_on)


def test_verified_labels_are_measured_choose_the_epoch_and_spare_negatives(
    tiny_store: FeatureStore, tmp_path: Path
) -> None:
    store = FeatureStore.open(write_labelled(tiny_store, tmp_path / "labelled"))
    found: dict[bool, TrainResult] = {}
    for ignoring in (False, True):
        settings = tiny_settings(
            losses__ignore_relevant=ignoring, evaluation__best_epoch_by="verified/mAP"
        )
        folder = Folder.open(tmp_path / f"trial{ignoring}")
        found[ignoring] = train(settings, store, folder, go_on)
        curve = [row.metrics["val/verified/mAP"] for row in found[ignoring].reports]
        assert found[ignoring].best_epoch == 1 + int(np.argmax(curve))
        best = found[ignoring].reports[found[ignoring].best_epoch - 1].metrics
        again = evaluate_saved(load_best(folder), store, "val", SpeedSettings())
        measured = {name for name in best if name.startswith("val/verified/")}
        assert measured == {
            f"val/verified/{name}" for name in ("R1", "R5", "R10", "R100", "SumR", "nDCG10", "mAP")
        }
        assert again.metrics["verified/mAP"] == best["val/verified/mAP"]
        # Whatever else is correct, the own video is.
        assert best["val/verified/R1"] >= best["val/R1"]
        content = folder.child("ranks").read_bytes(f"epoch-{len(curve):04d}.safetensors")
        kept = load_numpy(content)
        assert kept.keys() == {"ranks", "clip", "frame", "verified", "verified_nDCG10",
                               "verified_mAP"}  # fmt: skip
        assert kept["verified_mAP"].mean() == pytest.approx(curve[-1])
    plain, ignoring_relevant = (found[value].reports[0].metrics for value in (False, True))
    # Fewer negatives are easier, and CBVA has none.
    assert ignoring_relevant["train/clip_infonce"] < plain["train/clip_infonce"]


@pytest.mark.parametrize("path", ["losses__ignore_relevant", "evaluation__best_epoch_by"])
def test_settings_that_need_labels_are_refused_without(
    path: str, tiny_store: FeatureStore, folder: Folder
) -> None:
    value: Any = True if "ignore" in path else "verified/SumR"
    split = "train" if "ignore" in path else "val"
    with pytest.raises(StoreError, match=rf"{path.replace('__', '.')} is .* split {split} has"):
        train(tiny_settings(**{path: value}), tiny_store, folder, go_on)


def test_a_run_reports_every_epoch_with_every_metric(
    tiny_store: FeatureStore, folder: Folder
) -> None:
    seen: list[EpochReport] = []

    def report(row: EpochReport) -> Decision:
        # Saved before it is reported: the host may end the process here.
        assert read_state(folder).reports[-1] == row
        seen.append(row)
        return Decision.CONTINUE

    result = train(tiny_settings(), tiny_store, folder, report)
    assert tuple(seen) == result.reports
    assert [row.epoch for row in seen] == [1, 2, 3, 4]
    assert result.stop_reason == "epochs"
    recall = ("R1", "R5", "R10", "R100", "SumR")
    names = {f"train/{name}" for name in (*loss_term_names(), "total", "mean_segments")}
    names |= {"train/learning_rate", "train/gradient_norm", "memory/peak_mb"}
    names |= {f"val/{branch}{name}" for branch in ("", "clip/", "frame/") for name in recall}
    kinds = ("query", "clip", "teacher_query", "teacher_clip")
    means = ("intra", "total", "difference")
    names |= {f"val/collapse/{kind}_{mean}" for kind in kinds for mean in means}
    names |= {"val/collapse/query_spearman"}
    names |= {"time/epoch_s", "time/evaluation_s", "time/videos_per_s"}
    names |= {"cost/parameters", "cost/bytes_per_video", "cost/ms_per_query", "cost/train_s"}
    for row in seen:
        assert set(row.metrics) == names
        assert np.isfinite(list(row.metrics.values())).all()
        total = sum(row.metrics[f"train/{name}"] for name in loss_term_names())
        assert row.metrics["train/total"] == pytest.approx(total, rel=1e-5)
        assert row.metrics["val/R100"] == 100
        assert 2 <= row.metrics["train/mean_segments"] <= 8
        trained_s = sum(before.metrics["time/epoch_s"] for before in seen[: row.epoch])
        assert row.metrics["cost/train_s"] == pytest.approx(trained_s)
    values = [row.metrics["val/SumR"] for row in seen]
    assert result.best_epoch == values.index(max(values)) + 1


def test_same_seed_same_rows_and_another_seed_other_rows(
    tiny_store: FeatureStore, folder: Folder, uninterrupted: TrainResult
) -> None:
    torch.manual_seed(99)
    again = train(tiny_settings(), tiny_store, folder.child("a"), go_on)
    assert rows(again) == rows(uninterrupted)
    other = train(tiny_settings(training__seed=2), tiny_store, folder.child("b"), go_on)
    assert rows(other) != rows(uninterrupted)


@pytest.mark.parametrize(
    ("how", "every", "epoch"),
    rest_in_soak(
        [
            (raise_after, 1, 1),
            (raise_after, 1, 3),
            (stop_after, 1, 2),
            # Checkpoints are not written at every epoch: what came after the last one is lost.
            (raise_after, 3, 1),
            (raise_after, 2, 3),
            (stop_after, 2, 3),
        ],
        quick=2,
    ),
)
def test_interrupted_after_an_epoch_the_rows_are_the_same(
    tiny_store: FeatureStore,
    folder: Folder,
    uninterrupted: TrainResult,
    how: Callable[[int], Callable[[EpochReport], Decision]],
    every: int,
    epoch: int,
) -> None:
    speed = SpeedSettings(checkpoint_every_epochs=every)
    result = None
    with suppress(HostStoppedError):
        result = train(tiny_settings(), tiny_store, folder, how(epoch), speed)
    assert (result is None) == (how is raise_after)
    assert result is None or result.stop_reason == "stopped"
    assert rows(train(tiny_settings(), tiny_store, folder, go_on, speed)) == rows(uninterrupted)


def test_stopped_again_and_again(
    tiny_store: FeatureStore, folder: Folder, uninterrupted: TrainResult
) -> None:
    seen: dict[int, EpochReport] = {}
    for epoch in (1, 2, 3, 4):

        def report(row: EpochReport, last: int = epoch) -> Decision:
            # A row that is reported again is the same row, its time included.
            assert seen.setdefault(row.epoch, row) == row
            if row.epoch == last:
                raise HostStoppedError
            return Decision.CONTINUE

        with pytest.raises(HostStoppedError):
            train(tiny_settings(), tiny_store, folder, report)
    result = train(tiny_settings(), tiny_store, folder, go_on)
    assert rows(result) == rows(uninterrupted)
    assert result.reports == tuple(seen.values())
    assert result.best_epoch == uninterrupted.best_epoch


def test_interrupted_within_an_epoch(
    tiny_store: FeatureStore,
    folder: Folder,
    uninterrupted: TrainResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0

    def fail(*args: object) -> LossTerms:
        nonlocal calls
        calls += 1
        if calls == 8:  # the second batch of the third epoch
            raise HostStoppedError
        return compute_losses(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(train_loop, "compute_losses", fail)
    with pytest.raises(HostStoppedError):
        train(tiny_settings(), tiny_store, folder, go_on)
    monkeypatch.undo()
    assert read_state(folder).epoch == 2
    assert rows(train(tiny_settings(), tiny_store, folder, go_on)) == rows(uninterrupted)


def leave_at(*calls: int) -> Callable[[], bool]:
    """Wish to leave when asked for these times, from 1."""
    asked = itertools.count(1)
    return lambda: next(asked) in calls


# Three steps an epoch: after the first step, in the middle, after an epoch's last, after the last.
@pytest.mark.parametrize("step", [1, 5, 6, 12])
def test_left_within_an_epoch_it_goes_on_at_the_next_step(
    tiny_store: FeatureStore,
    folder: Folder,
    uninterrupted: TrainResult,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 0

    def count(*args: object) -> LossTerms:
        nonlocal steps
        steps += 1
        return compute_losses(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(train_loop, "compute_losses", count)
    left = train(tiny_settings(), tiny_store, folder, go_on, leave=leave_at(step))
    assert (left.stop_reason, steps) == ("left", step)
    state = read_state(folder)
    assert state.part is not None
    assert 3 * state.epoch + state.part.steps == step
    result = train(tiny_settings(), tiny_store, folder, go_on)
    assert steps == 12
    assert rows(result) == rows(uninterrupted)
    assert result.best_epoch == uninterrupted.best_epoch
    assert read_state(folder).part is None


def test_left_at_every_step_and_read_late(
    tiny_store: FeatureStore,
    folder: Folder,
    uninterrupted: TrainResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With few checkpoints, and numbers that come late as beside a GPU."""
    read_late(monkeypatch, 9)
    speed = SpeedSettings(checkpoint_every_epochs=3)
    for _ in range(12):
        left = train(tiny_settings(), tiny_store, folder, go_on, speed, leave=leave_at(1))
        assert left.stop_reason == "left"
    result = train(tiny_settings(), tiny_store, folder, go_on, speed, leave=leave_at(1))
    assert rows(result) == rows(uninterrupted)


@pytest.mark.parametrize("name", ["save_best", "save_ranks", "save_last"])
def test_killed_between_two_writes(
    tiny_store: FeatureStore,
    folder: Folder,
    uninterrupted: TrainResult,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = getattr(train_loop.checkpoint, name)

    def die(*args: object) -> None:
        written(*args)
        raise HostStoppedError

    for _ in range(2):
        monkeypatch.setattr(train_loop.checkpoint, name, die)
        with pytest.raises(HostStoppedError):
            train(tiny_settings(), tiny_store, folder, go_on)
        monkeypatch.undo()
    result = train(tiny_settings(), tiny_store, folder, go_on)
    assert rows(result) == rows(uninterrupted)
    found = evaluate_saved(load_best(folder), tiny_store, "val", SpeedSettings())
    assert found.metrics["SumR"] == result.reports[result.best_epoch - 1].metrics["val/SumR"]


def test_a_longer_budget_continues_exactly(
    tiny_store: FeatureStore, folder: Folder, uninterrupted: TrainResult
) -> None:
    short = train(tiny_settings(training__epochs=2), tiny_store, folder, go_on)
    assert rows(short) == rows(uninterrupted)[:2]
    assert short.stop_reason == "epochs"
    assert rows(train(tiny_settings(), tiny_store, folder, go_on)) == rows(uninterrupted)


def test_a_finished_trial_reports_again_and_trains_nothing(
    tiny_store: FeatureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tiny_settings(), tiny_store, folder, go_on)
    monkeypatch.setattr(train_loop, "compute_losses", None)
    seen: list[EpochReport] = []

    def report(row: EpochReport) -> Decision:
        seen.append(row)
        return Decision.CONTINUE

    again = train(tiny_settings(), tiny_store, folder, report)
    assert again == first
    assert tuple(seen) == first.reports


def test_a_stop_while_reporting_again_is_obeyed(tiny_store: FeatureStore, folder: Folder) -> None:
    train(tiny_settings(), tiny_store, folder, go_on)
    seen: list[int] = []

    def report(row: EpochReport) -> Decision:
        seen.append(row.epoch)
        return Decision.STOP

    assert train(tiny_settings(), tiny_store, folder, report).stop_reason == "stopped"
    assert seen == [1]


def fixed_values(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let epoch e have the validation SumR `values[e - 1]`."""
    found = train_loop.evaluate
    left = list(values)

    def evaluate(*args: object) -> object:
        evaluation = found(*args)  # type: ignore[arg-type]
        evaluation.metrics["SumR"] = left.pop(0)
        return evaluation

    monkeypatch.setattr(train_loop, "evaluate", evaluate)


def test_patience_counts_epochs_without_a_better_value(
    tiny_store: FeatureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_settings(training__epochs=9, training__patience_epochs=2)
    # An equal value is not better.
    fixed_values(monkeypatch, [10.0, 20.0, 15.0, 25.0, 25.0, 24.0, 99.0])
    result = train(settings, tiny_store, folder, go_on)
    assert (result.stop_reason, result.best_epoch, len(result.reports)) == ("patience", 4, 6)
    again = train(settings, tiny_store, folder, go_on)
    assert again == result


def test_patience_survives_an_interruption(
    tiny_store: FeatureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_settings(training__epochs=9, training__patience_epochs=2)
    fixed_values(monkeypatch, [20.0, 15.0, 16.0, 99.0])
    train(settings, tiny_store, folder, stop_after(2))
    result = train(settings, tiny_store, folder, go_on)
    assert (result.stop_reason, result.best_epoch, len(result.reports)) == ("patience", 1, 3)


def read_late(monkeypatch: pytest.MonkeyPatch, delay: int) -> None:
    """Let the host know of a step's numbers `delay` steps later, as beside a GPU."""
    monkeypatch.setattr(train_loop, "reader_for", lambda *_: SlowReader(delay))


@pytest.mark.parametrize("delay", [1, 9])
def test_numbers_that_come_late_change_nothing(
    tiny_store: FeatureStore,
    folder: Folder,
    uninterrupted: TrainResult,
    delay: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_late(monkeypatch, delay)
    assert rows(train(tiny_settings(), tiny_store, folder, go_on)) == rows(uninterrupted)


@pytest.mark.parametrize("delay", [0, 9])
@pytest.mark.parametrize("term", [*loss_term_names(), "gradient_norm"])
def test_a_number_that_is_not_finite_stops_before_the_step(
    tiny_store: FeatureStore,
    folder: Folder,
    term: str,
    delay: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(tiny_settings(training__epochs=1), tiny_store, folder, go_on)
    before = {name: folder.read_bytes(name) for name in (LAST, BEST)}
    weights: list[torch.Tensor] = []
    models: list[torch.nn.Module] = []

    def spoil(model: torch.nn.Module, *args: object) -> LossTerms:
        models.append(model)
        weights.append(all_weights(model))
        terms = compute_losses(model, *args)  # type: ignore[arg-type]
        # The second step of three; that of the third has finite numbers again.
        if len(weights) != 2:
            return terms
        # The seed of a term's gradient, too, is not finite; a finite term can have one as well.
        bad = terms.cbva * float("inf") if term != "gradient_norm" else infinite_slope(model)
        values = {name: getattr(terms, name) for name in loss_term_names()}
        values["cbva" if term == "gradient_norm" else term] = bad
        return LossTerms(**values)

    monkeypatch.setattr(train_loop, "compute_losses", spoil)
    if delay:
        read_late(monkeypatch, delay)
    with pytest.raises(NonFiniteError) as caught:
        train(tiny_settings(), tiny_store, folder, go_on)
    error = caught.value
    assert (error.term, error.epoch, error.step) == (f"train/{term}", 2, 2)
    # Nothing of the step was applied, nor of one after it, and the checkpoint is that of the
    # epoch before.
    assert len(weights) == (3 if delay else 2)
    assert torch.equal(all_weights(models[0]), weights[1])
    assert not torch.equal(weights[0], weights[1])
    assert {name: folder.read_bytes(name) for name in (LAST, BEST)} == before


def all_weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def infinite_slope(model: torch.nn.Module) -> torch.Tensor:
    """Zero, with an infinite derivative by a weight."""
    weight = next(model.parameters()).flatten()[0]
    return (weight - weight.detach()).clamp_min(0).pow(0.5)


def test_a_loss_that_overflows_is_found(tiny_store: FeatureStore, folder: Folder) -> None:
    settings = tiny_settings(losses__infonce_clip_weight=3e38)
    with pytest.raises(NonFiniteError, match="train/clip_infonce is not finite in epoch 1, step 1"):
        train(settings, tiny_store, folder, go_on)
    assert folder.names() == []


def test_hard_negatives_begin_at_their_epoch(
    tiny_store: FeatureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def spy(*args: object) -> LossTerms:
        seen.append(bool(args[4]))
        return compute_losses(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(train_loop, "compute_losses", spy)
    settings = tiny_settings(losses__hard_negative_epoch=2)
    train(settings, tiny_store, folder.child("a"), go_on)
    assert seen == [False] * 6 + [True] * 6
    seen.clear()
    settings = tiny_settings(losses__hard_negative_epoch=None)
    train(settings, tiny_store, folder.child("b"), go_on)
    assert not any(seen)


OTHERS = [
    (tiny_settings(losses__tau=0.5), "losses.tau is 0.8, wanted 0.5"),
    (tiny_settings(training__seed=7), "training.seed is 1, wanted 7"),
    (tiny_settings(model__hidden_size=8), "model.hidden_size is 16, wanted 8"),
    (tiny_settings(optimizer__schedule_epochs=30), "schedule_epochs is 20, wanted 30"),
]


@pytest.mark.parametrize(("settings", "message"), OTHERS)
def test_a_checkpoint_of_other_settings_is_refused(
    tiny_store: FeatureStore, folder: Folder, settings: Settings, message: str
) -> None:
    train(tiny_settings(training__epochs=1), tiny_store, folder, go_on)
    with pytest.raises(CheckpointError, match=message) as caught:
        train(settings, tiny_store, folder, go_on)
    assert str(caught.value).startswith(f"{folder.uri}/{LAST}: was trained with other settings")


def test_a_checkpoint_of_another_store_is_refused(
    tiny_store: FeatureStore, tmp_path: Path, folder: Folder
) -> None:
    train(tiny_settings(training__epochs=1), tiny_store, folder, go_on)
    write_synthetic(tmp_path / "other.store", TINY_DATA.model_copy(update={"seed": 2}))
    with pytest.raises(CheckpointError, match="was trained on a store with fingerprint"):
        train(tiny_settings(), FeatureStore.open(tmp_path / "other.store"), folder, go_on)


def test_the_process_keeps_its_random_numbers(tiny_store: FeatureStore, folder: Folder) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train(tiny_settings(training__epochs=1), tiny_store, folder, go_on)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_ranks_of_every_epoch_are_kept(tiny_store: FeatureStore, folder: Folder) -> None:
    result = train(tiny_settings(), tiny_store, folder, go_on)
    place = folder.child("ranks")
    assert place.names() == [f"epoch-{epoch:04d}.safetensors" for epoch in (1, 2, 3, 4)]
    for row, name in zip(result.reports, place.names(), strict=True):
        ranks = load_numpy(place.read_bytes(name))["ranks"]
        assert len(ranks) == len(tiny_store.split("val").caption_ids)
        found = recalls(torch.from_numpy(ranks.astype(np.int64)))
        assert found == {key: row.metrics[f"val/{key}"] for key in found}


def test_the_best_checkpoint_is_that_of_the_best_epoch(
    tiny_store: FeatureStore, folder: Folder
) -> None:
    result = train(tiny_settings(), tiny_store, folder, go_on)
    found = evaluate_saved(load_best(folder), tiny_store, "val", SpeedSettings())
    best = result.reports[result.best_epoch - 1].metrics
    assert found.metrics == {name: best[f"val/{name}"] for name in found.metrics}
    blocks = evaluate_saved(load_best(folder), tiny_store, "val", SpeedSettings(evaluation_block=3))
    assert (blocks.ranks == found.ranks).all()


def test_too_few_videos_are_refused(tmp_path: Path, folder: Folder) -> None:
    write_synthetic(tmp_path / "one.store", TINY_DATA.model_copy(update={"train_videos": 1}))
    with pytest.raises(StoreError, match="train needs two videos or more"):
        train(tiny_settings(), FeatureStore.open(tmp_path / "one.store"), folder, go_on)


@pytest.mark.parametrize("switch", [None, 0], ids=["random negatives", "hard negatives"])
def test_no_step_waits_for_the_device(
    tiny_store: FeatureStore, folder: Folder, switch: int | None
) -> None:
    # From the losses to the weights, on tensors without content: any number that is read raises.
    settings = tiny_settings(losses__hard_negative_epoch=switch)
    run = train_loop._Run(settings, tiny_store, folder, SpeedSettings(device="meta"))
    run.model.train()
    numbers = StepNumbers(step_number_names(), 1, DeafReader())
    # How batches get to a GPU without waiting is the prefetcher's, and its test's.
    host = torch.device("cpu")
    batches = [make_batch(run.train_split, videos, host).to(META) for videos in first_order(run)]
    with SyncDetector() as detector:
        for step, batch in enumerate(batches):
            run._step(batch, 0, step, numbers)
    assert detector.found == []
    assert run.optimizer.steps_done == 3
    assert {parameter.device for parameter in run.model.parameters()} == {META}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("switch", [None, 0], ids=["random negatives", "hard negatives"])
def test_no_step_waits_for_a_gpu(
    tiny_store: FeatureStore, folder: Folder, switch: int | None
) -> None:
    settings = tiny_settings(losses__hard_negative_epoch=switch)
    device, names = torch.device("cuda"), step_number_names()
    run = train_loop._Run(settings, tiny_store, folder, SpeedSettings(device="cuda"))
    # Libraries and caches are set up by the first steps.
    train_steps(run, StepNumbers(names, 1, reader_for(device, 3, len(names))))
    torch.cuda.synchronize()
    numbers = StepNumbers(names, 1, reader_for(device, 3, len(names)))
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_steps(run, numbers)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(list(numbers.means().values())).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_stops_at_a_number_that_is_not_finite(
    tiny_store: FeatureStore, folder: Folder
) -> None:
    speed = SpeedSettings(device="cuda")
    result = train(tiny_settings(), tiny_store, folder.child("fine"), go_on, speed)
    assert result.stop_reason == "epochs"
    settings = tiny_settings(losses__infonce_clip_weight=3e38)
    with pytest.raises(NonFiniteError, match="train/clip_infonce is not finite in epoch 1, step 1"):
        train(settings, tiny_store, folder.child("bad"), go_on, speed)
