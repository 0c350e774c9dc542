"""A driver that dies between any two writes changes nothing once the sweep is resumed."""

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.study import history
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.progress import LogProgress, Progress
from orchestrator.sweep.run import SweepResult
from orchestrator.tracking.missing_events import Told
from orchestrator.tracking.view import SweepView
from prvr_model.files.checkpoint_header import TrialRecord
from prvr_model.reporting import Decision, EpochReport
from tests.orchestrator.helpers import FINGERPRINT, ListSink, reopened_study, run_sweep, small_spec

FAKE_TRIALS = "tests.orchestrator.executors.fake_trials"
OVERRIDES = (
    "search.sampler=tpe",
    "search.trials=6",
    "early_stopping={method: asha, first_rung: 2, reduction: 2, max_epochs: 3}",
)


class KilledError(BaseException):
    """The driver dies here."""


class DyingSink(ListSink):
    """Raises at an event, before or after writing it, and at all later ones."""

    def __init__(self, at: int, after: bool) -> None:
        super().__init__()
        self._at = at
        self._after = after
        self._is_dead = False

    def append(self, event: Mapping[str, Any]) -> None:
        if self._is_dead:
            raise KilledError
        if len(self.events) == self._at:
            self._is_dead = True
            if self._after:
                super().append(event)
            raise KilledError
        super().append(event)


def run(
    home: Path,
    sink: ListSink,
    told: Told | None = None,
    function: str = "",
    progress: Progress | None = None,
) -> SweepResult:
    return run_sweep(
        small_spec(*OVERRIDES),
        Path("/store"),
        FINGERPRINT,
        home,
        sink=sink,
        progress=progress,
        executor="inline",
        function=f"tests.orchestrator.executors.fake_trials:{function or 'failing_third'}",
        told=told,
    )


def told_study(home: Path) -> list[Any]:
    """What a study holds of its trials, times apart."""
    study = StudyReader.open(study_url(home), "small")
    rows = [[(r.epoch, r.objective, r.decision) for r in study.rows(n)] for n in range(6)]
    frozen = study._study.get_trials()
    kept = [(t.state, t.value, t.params, t.intermediate_values, t.system_attrs) for t in frozen]
    named = [
        (trial.state, trial.key, trial.cause and trial.cause.kind) for trial in study.summaries()
    ]
    return [rows, kept, named]


def shown(events: list[dict[str, Any]]) -> dict[Any, Any]:
    """What a tracker makes of events: metric rows and states by run, times apart."""
    view = SweepView("id")
    for event in events:
        view.apply(event)
    return {
        change.run.trial: (
            change.run.name,
            change.status,
            change.params,
            [(row.key, row.step, row.value) for row in change.metrics],
        )
        for change in view.take_changes()
    }


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[dict[str, Any]]]:
    home, sink = tmp_path_factory.mktemp("lived"), ListSink()
    run(home, sink)
    return told_study(home), sink.events


def test_the_sweep_has_trials_of_every_end(
    lived: tuple[list[Any], list[dict[str, Any]]],
) -> None:
    """Without them the next test would not cover every kind of end."""
    states = {state for state, _, _ in lived[0][2]}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED}


# Dying after an event is dying before the study writes that follow it; a few of those are enough.
@pytest.mark.parametrize(
    ("after", "stride"),
    [
        (False, 6),
        pytest.param(True, 10, marks=pytest.mark.soak),
        pytest.param(False, 2, marks=pytest.mark.soak),
        pytest.param(True, 5, marks=pytest.mark.soak),
    ],
)
def test_death_at_any_event_changes_nothing(
    tmp_path: Path, after: bool, stride: int, lived: tuple[list[Any], list[dict[str, Any]]]
) -> None:
    study, events = lived
    for at in range(1, len(events), stride):
        home, sink = tmp_path / str(at), DyingSink(at, after)
        with suppress(KilledError):
            run(home, sink)
        again = ListSink()
        again.events = list(sink.events)
        run(home, again, Told.of(sink.events))
        assert told_study(home) == study, f"event {at}"
        assert shown(again.events) == shown(events), f"event {at}"


def test_progress_counts_what_earlier_drivers_did(
    tmp_path: Path, lived: tuple[list[Any], list[dict[str, Any]]]
) -> None:
    _, events = lived
    whole, rest = io.StringIO(), io.StringIO()
    run(tmp_path / "whole", ListSink(), progress=LogProgress(whole))
    sink = DyingSink(len(events) // 2, after=True)
    with suppress(KilledError):
        run(tmp_path / "killed", sink)
    run(tmp_path / "killed", ListSink(), Told.of(sink.events), progress=LogProgress(rest))
    last = whole.getvalue().splitlines()[-1]
    assert last.startswith("6/6 trials | 0 running")
    assert rest.getvalue().splitlines()[-1] == last


def test_a_decision_to_stop_that_was_recorded_ends_the_trial_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(SweepStudy, "tell_pruned", dies)
        sink = ListSink()
        with pytest.raises(KilledError):
            run(tmp_path, sink, function="rising")
    stopped = next(
        trial
        for trial in StudyReader.open(study_url(tmp_path), "small").summaries()
        if trial.state is TrialState.RUNNING
    )
    # The rows were sent; only later trials are trained.
    again = ListSink()
    ran: list[int] = []
    monkeypatch.setattr(
        "tests.orchestrator.executors.fake_trials.rising",
        lambda request, _: ran.append(request.number),
    )
    run(tmp_path, again, Told.of(sink.events), function="rising")
    assert stopped.number not in ran
    study = StudyReader.open(study_url(tmp_path), "small")
    assert study.summary(stopped.number).state is TrialState.PRUNED
    assert again.kinds(stopped.number) == ["trial_started", "trial_ended"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_recorded_end_whose_row_was_not_sent_needs_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """The row is sent from the checkpoint, or made from the study if the checkpoint lacks it."""
    spec = small_spec(*OVERRIDES)
    sink = ListSink()
    run(tmp_path, sink, function="rising")
    study = reopened_study(tmp_path, spec)
    last = sink.events.pop(-2)  # before the sweep's end: the end of the last trial
    assert last["kind"] == "trial_ended"
    number = last["number"]
    epochs = [
        event for event in sink.events if event["kind"] == "epoch" and event["number"] == number
    ]
    told = Told.of(event for event in sink.events if event is not epochs[-1])
    row = EpochReport(epochs[-1]["epoch"], epochs[-1]["metrics"], 77)
    rows = [row] if kept else []
    record = TrialRecord(tuple(rows), None)
    monkeypatch.setattr(history, "read_record", lambda _: record)
    again = ListSink()
    run(tmp_path, again, told)
    sent = [event for event in again.events if event.get("number") == number]
    assert [event["kind"] for event in sent] == ["epoch", "trial_ended"]
    # The study alone knows the objective, should the checkpoint be gone.
    assert sent[0]["metrics"] == row.metrics
    assert sent[0]["timestamp_ms"] == (77 if kept else study.rows(number)[-1].timestamp_ms)


def test_extension_opens_complete_trials_alone_and_failure_leaves_them_complete(
    tmp_path: Path,
) -> None:
    overrides = ("search.trials=4", "early_stopping.max_epochs=3")
    spec = small_spec(*overrides)
    run_options: dict[str, Any] = {"executor": "inline"}
    sink = ListSink()
    run_sweep(spec, Path("/store"), FINGERPRINT, tmp_path, sink=sink,
              function=f"{FAKE_TRIALS}:failing_third", **run_options)  # fmt: skip
    longer = small_spec("search.trials=4", "early_stopping.max_epochs=5")
    study = reopened_study(tmp_path, longer)
    attributes = {"spec_yaml": longer.dump_yaml()}
    assert study.extend(study_url(tmp_path), attributes, 3, 5) == (0, 1, 3)
    told = Told.of(sink.events)
    run_sweep(longer, Path("/store"), FINGERPRINT, tmp_path, sink=sink, told=told,
              function=f"{FAKE_TRIALS}:failing_at_four", **run_options)  # fmt: skip
    found = StudyReader.open(study_url(tmp_path), "small")
    assert found.attributes["spec_yaml"] == longer.dump_yaml()
    complete, failed = TrialState.COMPLETE, TrialState.FAILED
    assert [trial.state for trial in found.summaries()] == [complete, complete, failed, complete]
    assert [trial.epochs for trial in found.summaries()] == [5, 4, 1, 5]
    assert [row.decision for row in found.rows(0)] == [Decision.CONTINUE] * 5
    runs = shown(sink.events)
    steps = [step for key, step, _ in runs[0][3] if key == "val/SumR"]
    assert steps == [1, 2, 3, 4, 5]
    assert runs[0][1] == "FINISHED"
