"""A sweep in this process: states, causes, events, and errors of the tracker."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.errors import SweepExistsError
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.run import SweepResult
from tests.orchestrator.helpers import FINGERPRINT, ListSink, run_sweep, small_spec


class Warned(SilentProgress):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def run(home: Path, function: str, *overrides: str, **options: Any) -> SweepResult:  # noqa: ANN401
    return run_sweep(
        small_spec(*overrides),
        Path("/store"),
        FINGERPRINT,
        home,
        executor="inline",
        function=f"tests.orchestrator.executors.fake_trials:{function}",
        **options,
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepResult, ListSink, StudyReader]:
    """Eight trials that end in every way there is."""
    home, sink = tmp_path_factory.mktemp("mixed"), ListSink()
    result = run(home, "mixed", "search.trials=8", sink=sink)
    return result, sink, StudyReader.open(study_url(home), "small")


def test_states_are_told_truthfully(mixed: tuple[SweepResult, ListSink, StudyReader]) -> None:
    result, _, study = mixed
    states = [trial.state for trial in study.summaries()]
    complete, failed = TrialState.COMPLETE, TrialState.FAILED
    assert states == [complete, failed, failed, failed, failed, failed, complete, complete]
    assert result.counts == {
        TrialState.RUNNING: 0,
        TrialState.COMPLETE: 3,
        TrialState.PRUNED: 0,
        TrialState.FAILED: 5,
    }
    assert not result.interrupted


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (1, "UnpicklableError", "tau of trial 1 cannot be used"),
        (2, "SystemExit", "7"),
        (3, "NoEpochError", "without reporting an epoch"),
        (4, "NonFiniteObjectiveError", "val/SumR was nan at epoch 1"),
        (5, "MissingMetricError", "no val/SumR; reported: loss"),
    ],
)
def test_failures_keep_their_cause(
    mixed: tuple[SweepResult, ListSink, StudyReader], number: int, kind: str, message: str
) -> None:
    _, sink, study = mixed
    cause = study.summary(number).cause
    assert cause is not None
    assert cause.kind == kind
    assert message in cause.message
    (ended,) = [
        event
        for event in sink.events
        if event["kind"] == "trial_ended" and event["number"] == number
    ]
    assert ended["state"] == "failed"
    assert ended["cause"]["kind"] == kind


def test_best_is_the_best_complete_trial(
    mixed: tuple[SweepResult, ListSink, StudyReader],
) -> None:
    result, _, study = mixed
    complete = [trial for trial in study.summaries() if trial.state is TrialState.COMPLETE]
    assert result.best == max(complete, key=lambda trial: trial.value or 0)


def test_epochs_reported_again_are_dropped(
    mixed: tuple[SweepResult, ListSink, StudyReader],
) -> None:
    _, sink, study = mixed
    assert len(study.rows(6)) == 3
    assert sink.kinds(6) == ["trial_started", "epoch", "epoch", "epoch", "trial_ended"]


def test_events_tell_the_sweep_from_begin_to_end(
    mixed: tuple[SweepResult, ListSink, StudyReader],
) -> None:
    _, sink, _ = mixed
    first, last = sink.events[0], sink.events[-1]
    assert (first["kind"], first["sweep"]) == ("sweep_started", "small")
    assert first["params"]["search.sampler"] == "random"
    assert first["tags"]["data_fingerprint"] == FINGERPRINT
    assert (last["kind"], last["state"]) == ("sweep_ended", "finished")
    assert last["counts"] == {"running": 0, "complete": 3, "pruned": 0, "failed": 5}
    started = next(event for event in sink.events if event["kind"] == "trial_started")
    assert started["params"]["losses.tau"] == started["parameters"]["losses.tau"]
    assert started["seed"] == 1
    epoch = next(event for event in sink.events if event["kind"] == "epoch")
    assert (epoch["epoch"], epoch["timestamp_ms"]) == (1, 1001)
    assert set(epoch["metrics"]) == {"val/SumR"}


def test_only_the_pruner_makes_a_trial_pruned(tmp_path: Path) -> None:
    stopping = "early_stopping={method: asha, first_rung: 1, reduction: 2, max_epochs: 3}"
    result = run(tmp_path, "rising", stopping, "search.trials=8")
    study = StudyReader.open(study_url(tmp_path), "small")
    epochs = {trial.number: (trial.state, trial.epochs) for trial in study.summaries()}
    assert {state for state, _ in epochs.values()} == {TrialState.PRUNED, TrialState.COMPLETE}
    for state, count in epochs.values():
        assert (count == 3) == (state is TrialState.COMPLETE)
    assert result.best is not None
    assert result.best.epochs == 3


def test_sweep_says_what_it_is(tmp_path: Path) -> None:
    spec = small_spec()
    run(tmp_path, "rising")
    attributes = StudyReader.open(study_url(tmp_path), "small").attributes
    assert attributes["spec_yaml"] == spec.dump_yaml()
    assert attributes["data_fingerprint"] == FINGERPRINT
    assert attributes["started_ms"] <= attributes["ended_ms"]
    assert attributes["sampler"] == {"kind": "random", "seed": 3}
    assert attributes["state"] == "finished"


def test_sweep_of_a_known_name_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "rising", "search.trials=1")
    with pytest.raises(SweepExistsError, match="1 complete"):
        run(tmp_path, "rising")


class FullDisk:
    def append(self, event: Mapping[str, Any]) -> None:
        raise OSError("No space left on device")


def test_errors_of_the_tracker_are_shown_and_stop_no_trial(tmp_path: Path) -> None:
    shown = Warned()
    result = run(tmp_path, "rising", "search.trials=2", sink=FullDisk(), progress=shown)
    assert result.counts[TrialState.COMPLETE] == 2
    assert result.tracking_errors == ("tracking: OSError: No space left on device",)
    assert shown.lines == list(result.tracking_errors)


def test_broken_study_ends_the_sweep_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("orchestrator.study.study.SweepStudy.record_epoch", full)
    sink = ListSink()
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, "rising", sink=sink)
    assert sink.events[-1]["state"] == "interrupted"
    study = StudyReader.open(study_url(tmp_path), "small")
    assert study.counts()[TrialState.RUNNING] == 1
