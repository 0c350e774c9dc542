"""Replayed sweeps: what they cost and find, and how their table is recorded."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet

from orchestrator.spec.start import Start
from prvr_model.store.synthetic import SyntheticSettings
from tests.benchmarks import recording, search_quality
from tests.benchmarks.recorded_trials import METRIC, SYNTHETIC, TABLE, TVR_MINI, RecordedTrials
from tests.benchmarks.replayed_sweep import replay
from tests.benchmarks.search_quality import Way, seeded

EPOCHS = 9


@pytest.fixture(scope="module")
def trials() -> RecordedTrials:
    """One seed of the table: what a sweep sees is then what it is judged by."""
    both = RecordedTrials.read(TABLE, SYNTHETIC)
    values = {point: rows[:1] for point, rows in both.values.items()}
    return replace(both, seeds=both.seeds[:1], values=values)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_table_has_every_point_of_the_space() -> None:
    for data in (SYNTHETIC, TVR_MINI):
        table = RecordedTrials.read(TABLE, data)
        assert len(table.values) == table.spec.num_points == 405
        assert all(rows.shape[1] == EPOCHS for rows in table.values.values())
        # The surface is not flat: points differ by more than seeds of one point.
        figures = table.figures()
        assert figures["best"] - figures["worst"] > 5 * figures.get("seed_sd", 0)
        numbers = table.numbers_alone()
        assert len(numbers.values) == numbers.spec.num_points == 270
        assert numbers.best <= table.best
    assert TABLE.stat().st_size < 200_000


def test_random_draws_find_more_with_more_epochs(trials: RecordedTrials) -> None:
    rows = search_quality.regrets(Way("random"), trials, range(6))["rows"]
    blind = trials.best - np.mean([*trials.truth.values()])
    means = np.concatenate([[blind], rows.mean(0)])
    assert (np.diff(means) <= 0).all()
    assert means[-1] < means[0] / 2


def test_a_sweep_that_is_given_the_best_point_has_no_regret(
    trials: RecordedTrials, tmp_path: Path
) -> None:
    best = json.loads(max(trials.truth, key=trials.truth.__getitem__))
    start = Start.model_validate({"points": [best]})
    spec = seeded(Way("tpe").spec(trials), "given", 1, trials.seeds[0], start=start)
    sweep = replay(spec, trials, tmp_path, 4 * EPOCHS)
    # Nothing is crowned before a trial is complete.
    before, after = sweep.value_after([EPOCHS - 1, 4 * EPOCHS], trials.truth)
    assert after == trials.best
    assert before == pytest.approx(np.mean([*trials.truth.values()]))


def test_a_known_point_costs_no_epoch(trials: RecordedTrials, tmp_path: Path) -> None:
    """A sweep over the points of an earlier one takes over what that one trained."""
    point = json.loads(min(trials.truth))
    start = Start.model_validate({"points": [point]})
    spec = Way("random").spec(trials)
    first = replay(
        seeded(spec, "first", 1, trials.seeds[0], start=start), trials, tmp_path, 4 * EPOCHS
    )
    again = seeded(spec, "again", 1, trials.seeds[0], start=start)
    second = replay(again, trials, tmp_path, 4 * EPOCHS, known=first.known)
    assert second.num_taken >= 1
    assert second.epochs[0] == 0
    assert first.epochs[0] >= EPOCHS


def test_pruned_trials_leave_epochs_to_others(trials: RecordedTrials) -> None:
    drawn = {
        pruner: search_quality.regrets(Way("random", pruner), trials, range(1))["trials"]
        for pruner in ("none", "asha")
    }
    assert drawn["asha"] > 1.4 * drawn["none"]


def test_the_benchmark_prints_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--json --threads 1 --replays 2 --warm-replays 1 --data tvr_mini --ways random cmaes"
    monkeypatch.setattr(sys, "argv", ["search_quality", *options.split()])
    search_quality.main()
    found = json.loads(capsys.readouterr().out)
    table = found["tvr_mini"]
    assert set(table["all"]) == {"random"}
    assert set(table["numbers"]) == {"random", "cmaes"}
    assert len(table["all"]["random"]["regret"]) == len(found["budgets_epochs"])
    difference = table["numbers"]["cmaes"]["below_random"][0]
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert len(table["warm_start"]["below_cold"]) == 4


def test_a_recording_goes_on_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = SyntheticSettings(train_videos=4, val_videos=3, test_videos=1)
    monkeypatch.setattr(recording, "_GENERATED", tiny)
    path = tmp_path / "trials.parquet"
    recording.record(path, None, [1], 1, 1)
    scratch = path.with_suffix(".rows.jsonl")
    first = scratch.read_text()
    # A second row was being written when the process died.
    scratch.write_text(first + first[:40])
    recording.record(path, None, [1], 1, 2)
    assert scratch.read_text().startswith(first)
    assert scratch.read_text().count("\n") == 2
    table = parquet.read_table(path)
    assert table[METRIC].to_pylist()[0] == pytest.approx(json.loads(first)[METRIC])
    assert table.schema.field("seconds").metadata == {b"unit": b"s"}
    about = json.loads(table.schema.metadata[b"recorded"])
    assert about["data"][SYNTHETIC]["generated"]["train_videos"] == 4
    with pytest.raises(AssertionError, match="points"):
        RecordedTrials.read(path, SYNTHETIC)
