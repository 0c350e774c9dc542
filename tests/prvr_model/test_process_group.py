"""Several workers against one process: losses, gradients, evaluation, uneven and empty shards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from prvr_model.files.folder import Folder
from prvr_model.inputs.batching import Batch
from prvr_model.inputs.prepared_split import PreparedSplit
from prvr_model.losses.objective import BranchDraws, compute_losses
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network.model import MscModel
from prvr_model.process_group import ALONE, GroupWorkers, Shards, Workers
from prvr_model.reporting import MEASURED, Decision, EpochReport, Leave, stay
from prvr_model.retrieval.evaluation import evaluate
from prvr_model.retrieval.metrics import Relevance, best_ranks, best_ranks_of_workers
from prvr_model.settings import SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from prvr_model.training.train_loop import train
from tests.cases import rest_in_soak
from tests.process_group import own_part, run_in_group
from tests.prvr_model.tiny import (
    TEXT_DIM,
    TINY_DATA,
    VIDEO_DIM,
    ignored_pairs,
    random_batch,
    tiny_model,
    tiny_settings,
    write_labelled,
)

SETTINGS = tiny_settings(model__dropout=0.0, model__input_dropout=0.0)
CAPTIONS = [3, 1, 4, 2, 2]


@pytest.mark.parametrize(
    ("total", "workers", "counts"), [(5, 2, (3, 2)), (2, 3, (1, 1, 0)), (6, 3, (2, 2, 2))]
)
def test_even_shards(total: int, workers: int, counts: tuple[int, ...]) -> None:
    shards = Shards.even(total, workers)
    assert shards.counts == counts
    assert shards.total == total
    rows = [range(total)[shards.rows(worker)] for worker in range(workers)]
    assert [row for part in rows for row in part] == list(range(total))


def losses_and_gradients(batch: Batch, workers: Workers, hard: bool) -> list[Tensor]:
    torch.manual_seed(1)
    model = tiny_model(SETTINGS, torch.float64).eval()
    generator = np.random.default_rng(0)
    spread = batch.spread
    sizes = (spread.captions.total, spread.videos.total) * 2
    drawn = [torch.from_numpy(generator.random(size)) for size in sizes]
    draws = BranchDraws(NegativeDraws(*drawn[:2]), NegativeDraws(*drawn[2:]))
    terms = compute_losses(model, batch, SETTINGS.losses, draws, hard, workers=workers)
    terms.total.backward()
    workers.sum_gradients(model.parameters())
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(part is not None for part in gradients)
    return [terms.all_workers(workers), *gradients]


def largest_errors(captions: list[int], counts: tuple[int, ...]) -> list[float]:
    plain = random_batch(SETTINGS, captions, dtype=torch.float64)
    workers = GroupWorkers()
    errors = []
    for hard, ignored in ((False, None), (True, None), (True, ignored_pairs(plain))):
        batch = replace(plain, ignored=ignored)
        wanted = losses_and_gradients(batch, ALONE, hard)
        part = own_part(batch, Shards(counts), workers.rank)
        found = losses_and_gradients(part, workers, hard)
        largest = max(float(tensor.abs().max()) for tensor in wanted)
        errors += [
            float((a - b).abs().max()) / max(float(b.abs().max()), 1e-6 * largest)
            for a, b in zip(found, wanted, strict=True)
        ]
    assert workers.exchanged_bytes > 0
    return errors


def random_split(num_videos: int, num_captions: int) -> PreparedSplit:
    generator = np.random.default_rng(2)
    settings = SETTINGS.model

    def rows(*shape: int) -> np.ndarray:
        values = generator.standard_normal(shape).astype(np.float32)
        return values / np.linalg.norm(values, axis=-1, keepdims=True)

    owners = np.sort(generator.integers(num_videos, size=num_captions))
    counts = np.bincount(owners, minlength=num_videos)
    lengths = generator.integers(1, 5, num_captions)
    frames, clips = settings.num_frames, settings.num_clips
    return PreparedSplit(
        frames=rows(num_videos, frames, VIDEO_DIM),
        clips=rows(num_videos, clips, VIDEO_DIM),
        clip_sizes=np.full((num_videos, clips), frames / clips, np.float32),
        frame_to_clip=np.tile(np.repeat(np.arange(clips), frames // clips), (num_videos, 1)),
        segment_of_clip=np.tile(np.arange(clips), (num_videos, 1)),
        tokens=rows(int(lengths.sum()), TEXT_DIM),
        token_offsets=np.concatenate([[0], np.cumsum(lengths)]),
        caption_video=owners,
        caption_order=np.arange(num_captions),
        caption_starts=np.concatenate([[0], np.cumsum(counts)]),
    )


def evaluations(num_videos: int) -> list[Any]:
    split = random_split(num_videos, 30)
    torch.manual_seed(3)
    model = MscModel(SETTINGS.model, VIDEO_DIM, TEXT_DIM)
    other = (split.caption_video + 1) % num_videos
    both = torch.from_numpy(np.stack([split.caption_video, other], axis=1))
    relevance = Relevance(both, {"verified": Relevance(both), "own": Relevance(both[:, :1])})
    speed = SpeedSettings(evaluation_block=7)
    found = evaluate(model, split, relevance, speed, workers=GroupWorkers())
    wanted = evaluate(model, split, relevance, speed)
    return [found.metrics, wanted.metrics, found.ranks.tolist(), wanted.ranks.tolist()]


def trained(store: Path, folder: Path, workers: Workers, stop_after: int = 99) -> Any:  # noqa: ANN401
    """Rows of a trial of three epochs, and how often it was reported to."""
    calls = []

    def report(row: EpochReport) -> Decision:
        calls.append(row.epoch)
        return Decision.STOP if row.epoch >= stop_after else Decision.CONTINUE

    training = SETTINGS.training.model_copy(update={"epochs": 3})
    losses = SETTINGS.losses.model_copy(update={"ignore_relevant": True})
    settings = SETTINGS.model_copy(update={"training": training, "losses": losses})
    opened = FeatureStore.open(store)
    result = train(settings, opened, Folder.open(folder), report, workers=workers)
    kept = ("train/total", "train/cbva", "train/mean_segments", "val/SumR", "val/clip/R10")
    kept = (*kept, "val/verified/nDCG10", "val/verified/mAP")
    rows = [[row.metrics[name] for name in kept] for row in result.reports]
    return [rows, result.stop_reason, calls]


def everything(
    cases: list[tuple[list[int], tuple[int, ...]]], store: Path, folder: Path
) -> list[Any]:
    """All that one start of the processes can show."""
    errors = [largest_errors(*case) for case in cases]
    evaluated = [evaluations(num_videos) for num_videos in (11, 2)]
    workers = GroupWorkers()
    stopped = trained(store, folder, workers, stop_after=2)
    return [errors, evaluated, stopped, trained(store, folder, workers)]


@pytest.mark.parametrize(
    "cases",
    rest_in_soak([[(CAPTIONS, (1, 4))], [(CAPTIONS, (2, 2, 1)), ([2, 3], (1, 1, 0))]]),
)
def test_workers_do_as_one_process(
    cases: list[tuple[list[int], tuple[int, ...]]], tmp_path: Path
) -> None:
    write_synthetic(tmp_path / "tiny.store", TINY_DATA)
    store = write_labelled(FeatureStore.open(tmp_path / "tiny.store"), tmp_path / "labelled.store")
    wanted_rows, *_ = trained(store, tmp_path / "alone", ALONE)
    found = run_in_group(len(cases[0][1]), everything, cases, store, tmp_path / "together")
    for rank, (errors, evaluated, stopped, resumed) in enumerate(found):
        assert max(error for case in errors for error in case) < 1e-9
        for metrics, wanted, ranks, wanted_ranks in evaluated:
            assert ranks == wanted_ranks
            assert metrics == pytest.approx(wanted, rel=1e-6)
            assert {"verified/nDCG10", "verified/mAP", "own/SumR"} <= wanted.keys()
            recalls = [name for name in wanted if "R" in name]
            assert [metrics[name] for name in recalls] == [wanted[name] for name in recalls]
        # Only the first worker reports, and its decision is everyone's.
        assert stopped[1:] == ["stopped", [1, 2] if rank == 0 else []]
        assert resumed[1:] == ["epochs", [1, 2, 3] if rank == 0 else []]
        np.testing.assert_allclose(resumed[0], wanted_rows, rtol=1e-3)


def left_and_gone_on(store: Path, folder: Path) -> list[Any]:
    """Rows in one piece and in two, and the step where the second worker's wish ended the first."""
    workers = GroupWorkers()
    opened = FeatureStore.open(store)
    settings = tiny_settings(training__epochs=3)
    asked: list[int] = []

    def leave() -> bool:
        asked.append(len(asked) + 1)
        return workers.rank == 1 and asked[-1] == 4

    def one_run(name: str, leave: Leave = stay) -> list[Any]:
        place = Folder.open(folder / name)
        result = train(
            settings, opened, place, lambda _: Decision.CONTINUE, workers=workers, leave=leave
        )
        rows = [
            {name: value for name, value in row.metrics.items() if not name.startswith(MEASURED)}
            for row in result.reports
        ]
        return [result.stop_reason, rows, len(asked)]

    return [one_run("whole"), one_run("parts", leave), one_run("parts")]


def test_all_leave_at_the_same_step_and_go_on_from_it(tmp_path: Path) -> None:
    """With dropout, of which every worker has its own."""
    store = tmp_path / "tiny.store"
    write_synthetic(store, TINY_DATA)
    found = run_in_group(2, left_and_gone_on, store, tmp_path)
    for whole, left, resumed in found:
        # Asked at step 4, the answer is everyone's one step later: the middle of an epoch.
        assert (left[0], left[2]) == ("left", 5)
        assert (resumed[0], resumed[1]) == (whole[0], whole[1])
    exchanged = [row["train/exchanged_mb_per_step"] for row in found[0][0][1]]
    assert len(exchanged) == 3
    assert min(exchanged) > 0


def rows_of_run(store: Path, folder: Path, leave_at: int | None) -> list[Any]:
    """Rows of a run that its workers leave after so many steps, and without its dropout."""
    asked: list[None] = []

    def leave() -> bool:
        asked.append(None)
        return len(asked) == leave_at

    settings = tiny_settings(training__epochs=3, model__dropout=0.0, model__input_dropout=0.0)
    opened, place, workers = FeatureStore.open(store), Folder.open(folder), GroupWorkers()
    result = train(
        settings, opened, place, lambda _: Decision.CONTINUE, workers=workers, leave=leave
    )
    return [dict(row.metrics) for row in result.reports]


@pytest.mark.soak
def test_fewer_workers_go_on_with_the_same_numbers(tmp_path: Path) -> None:
    """Batch, learning rate and draws do not depend on them; only sums are in another order."""
    store = tmp_path / "tiny.store"
    write_synthetic(store, TINY_DATA)
    whole = run_in_group(3, rows_of_run, store, tmp_path / "whole", None)[0]
    run_in_group(3, rows_of_run, store, tmp_path / "parts", 4)
    parts = run_in_group(2, rows_of_run, store, tmp_path / "parts", None)[0]
    # It was left in the middle of its second epoch.
    assert [row["workers"] for row in whole] == [3, 3, 3]
    assert [row["workers"] for row in parts] == [3, 2, 2]
    names = [name for name in whole[0] if name.startswith(("train/", "val/"))]
    names.remove("train/exchanged_mb_per_step")
    for row, wanted in zip(parts, whole, strict=True):
        found = {name: row[name] for name in names}
        assert found == pytest.approx({name: wanted[name] for name in names}, rel=1e-4)


def test_one_worker_ranks_as_nobody_else_does() -> None:
    torch.manual_seed(0)
    scores = torch.randint(4, (20, 6)).float()
    scores[3, 2] = torch.nan
    relevance = Relevance(torch.randint(6, (20, 3)))
    found = best_ranks_of_workers(scores, relevance, ALONE, Shards((6,)))
    assert torch.equal(found, best_ranks(scores, relevance))
