"""Rounds after the first: a race gives seeds to undecided rows, a confirmation reruns the best."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.commands.status_text import render_status
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.study.confirmation import confirmed_trials, crowned
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.run import SweepResult
from orchestrator.sweep.status import read_status
from orchestrator.tracking.missing_events import Told
from orchestrator.tracking.tags import BEST_TRIAL_TAG
from orchestrator.tracking.view import SweepView
from tests.cases import rest_in_soak
from tests.orchestrator.executors.fake_trials import RANKED_QUERIES, RANKED_VIDEOS
from tests.orchestrator.helpers import FINGERPRINT, ListSink, run_sweep, small_spec

RACE = """\
name: small
question: Which margin?
data: builtin
settings: {training.epochs: 2, optimizer.schedule_epochs: 2, losses.hard_negative_epoch: null}
ablation:
  design: swap
  baseline: {}
  variants:
    alike: {losses.margin: 0.3}
    worse: {losses.margin: 0.1}
  seeds: 2
  race: {max_seeds: 5}
"""
CONFIRM = (
    "search.sampler=grid",
    "search.trials=null",
    "search.parameters={losses.tau: {type: float, low: 0.5, high: 0.9, step: 0.1}}",
    "confirm={top: 2, seeds: 3}",
)


class KilledError(BaseException):
    """The driver dies here."""


class Dying(SilentProgress):
    """Kills the driver when a trial begins."""

    def __init__(self, at: int) -> None:
        self._at = at

    def started(self, number: int) -> None:
        if number == self._at:
            raise KilledError


def run(home: Path, spec: SweepSpec, function: str, **options: Any) -> SweepResult:  # noqa: ANN401
    index = np.repeat(np.arange(RANKED_VIDEOS), RANKED_QUERIES)
    return run_sweep(
        spec,
        Path("/store"),
        FINGERPRINT,
        home,
        executor="inline",
        function=f"tests.orchestrator.executors.fake_trials:{function}",
        videos=lambda: VideosOfQueries(index),
        **options,
    )


def reader(home: Path) -> StudyReader:
    return StudyReader.open(study_url(home), "small")


def content(home: Path) -> list[Any]:
    """What a study says of its trials, folders and times apart."""
    study = reader(home)
    return [
        (
            trial.number,
            trial.variant,
            trial.seed,
            trial.confirms,
            trial.parameters,
            trial.value,
            trial.state,
        )
        for trial in study.summaries()
    ]


def best_in_tracker(sink: ListSink) -> str:
    view = SweepView("id")
    for event in sink.events:
        view.apply(event)
    return next(
        change.tags[BEST_TRIAL_TAG] for change in view.take_changes() if change.run.trial is None
    )


def test_a_race_gives_seeds_to_what_is_undecided(tmp_path: Path) -> None:
    sink = ListSink()
    result = run(tmp_path, read_spec(RACE), "ranked", sink=sink)
    assert result.best is not None
    assert best_in_tracker(sink) == str(result.best.number)
    seeds: dict[str | None, list[int | None]] = {}
    for trial in reader(tmp_path).summaries():
        assert trial.state is TrialState.COMPLETE
        seeds.setdefault(trial.variant, []).append(trial.seed)
    assert seeds["baseline"] == seeds["alike"] == [1, 2, 3, 4, 5]
    assert seeds["worse"] == [1, 2]
    status = read_status(tmp_path, "small")
    assert status.num_trials == 12
    assert {row.name: row.complete for row in status.rows}["worse"] == 2


def test_a_row_that_always_fails_gets_no_more_seeds(tmp_path: Path) -> None:
    run(tmp_path, read_spec(RACE), "ranked_but_one")
    seeds: dict[str | None, int] = {}
    for trial in reader(tmp_path).summaries():
        seeds[trial.variant] = seeds.get(trial.variant, 0) + 1
        assert (trial.state is TrialState.FAILED) == (trial.variant == "alike")
    # Its difference stays undecided, so the baseline gets all of its seeds.
    assert seeds == {"baseline": 5, "alike": 2, "worse": 2}


def test_without_a_race_every_row_has_its_seeds_and_no_more(tmp_path: Path) -> None:
    run(tmp_path, read_spec(RACE, ["ablation.race=null"]), "ranked")
    assert len(content(tmp_path)) == 6


@pytest.fixture(scope="module")
def whole_race(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("race")
    run(home, read_spec(RACE), "ranked")
    return home


@pytest.mark.parametrize("at", rest_in_soak([6, 0, 5, 8, 9]))
def test_a_race_continues_after_a_kill(whole_race: Path, tmp_path: Path, at: int) -> None:
    with pytest.raises(KilledError):
        run(tmp_path / "cut", read_spec(RACE), "ranked", progress=Dying(at))
    run(tmp_path / "cut", read_spec(RACE), "ranked", told=Told())
    assert content(tmp_path / "cut") == content(whole_race)


def test_a_confirmation_crowns_the_best_mean(tmp_path: Path) -> None:
    sink = ListSink()
    result = run(tmp_path, small_spec(*CONFIRM), "lucky", sink=sink)
    study = reader(tmp_path)
    fresh = [trial for trial in study.summaries() if trial.confirms is not None]
    assert [(trial.confirms, trial.seed) for trial in fresh] == [
        (number, seed) for seed in (2, 3, 4) for number in (4, 3)
    ]
    first, second = confirmed_trials(study)
    # The best trial of the search was lucky with its seed.
    assert (first.searched.parameters["losses.tau"], second.searched.number) == (0.8, 4)
    assert second.searched.value is not None
    assert first.searched.value is not None
    assert second.searched.value > first.searched.value > second.mean
    assert first.mean == pytest.approx(80 * (1 - 0.5**3))
    assert result.best is not None
    assert result.best.confirms == first.searched.number
    assert best_in_tracker(sink) == str(result.best.number)
    status = read_status(tmp_path, "small")
    assert status.best == result.best
    assert status.num_trials == 11
    assert "trial 3: 70 ± 0 in 3 runs, 70 in the search; crowned" in render_status(status)
    started = [
        event for event in sink.events if event["kind"] == "trial_started" and "confirms" in event
    ]
    assert [(event["confirms"], event["block"]) for event in started][:3] == [
        (4, 0),
        (3, 0),
        (4, 1),
    ]


def test_of_an_ablation_the_row_with_the_best_mean_wins(tmp_path: Path) -> None:
    result = run(tmp_path, read_spec(RACE), "ranked")
    study = reader(tmp_path)
    means: dict[str, float] = {}
    for name in ("baseline", "alike"):
        own = [trial.value or 0.0 for trial in study.summaries() if trial.variant == name]
        means[name] = sum(own) / len(own)
    best, second, last = crowned(study, 3)
    assert best.variant == max(means, key=lambda name: means[name])
    assert {second.variant, last.variant} == {"baseline", "alike", "worse"} - {best.variant}
    # A row that the race dropped after two seeds never beats rows of five, however lucky it was.
    assert last.variant == "worse"
    assert result.best == best


@pytest.fixture(scope="module")
def whole_confirmation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("confirmation")
    run(home, small_spec(*CONFIRM), "lucky")
    return home


@pytest.mark.parametrize("at", rest_in_soak([5, 4, 7, 10]))
def test_a_confirmation_continues_after_a_kill(
    whole_confirmation: Path, tmp_path: Path, at: int
) -> None:
    with pytest.raises(KilledError):
        run(tmp_path / "cut", small_spec(*CONFIRM), "lucky", progress=Dying(at))
    run(tmp_path / "cut", small_spec(*CONFIRM), "lucky", told=Told())
    assert content(tmp_path / "cut") == content(whole_confirmation)


def test_fresh_runs_are_never_pruned(tmp_path: Path) -> None:
    pruning = (
        "search.sampler=random",
        "search.trials=8",
        "confirm={top: 1, seeds: 2}",
        "early_stopping={method: asha, first_rung: 1, reduction: 2, max_epochs: 3}",
    )
    run(tmp_path, small_spec(*pruning), "rising")
    trials = reader(tmp_path).summaries()
    assert TrialState.PRUNED in {trial.state for trial in trials}
    fresh = [trial for trial in trials if trial.confirms is not None]
    assert [trial.state for trial in fresh] == [TrialState.COMPLETE] * 2


def test_ranks_that_are_gone_end_a_race_with_their_trial(tmp_path: Path) -> None:
    from orchestrator.base.errors import OutcomesError

    with pytest.raises(OutcomesError, match="trial 0: the ranks of its best epoch cannot be read"):
        run(tmp_path, read_spec(RACE), "rising")
