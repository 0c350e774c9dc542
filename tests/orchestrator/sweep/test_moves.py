"""An evicted trial: the user is told, the study counts evictions, the tracker shows them."""

from pathlib import Path

import pytest

from orchestrator.base.errors import LocationError
from orchestrator.commands.status_text import render_status
from orchestrator.executors.executor import TrialSource
from orchestrator.executors.interruption import Interruption
from orchestrator.spec.prices import MachineKind
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import FailureCause
from orchestrator.study.work import work_of
from orchestrator.study.work_record import TrialStart
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.status import read_status
from orchestrator.tracking.missing_events import Told, missing_events
from orchestrator.tracking.tags import MOVES_TAG
from orchestrator.tracking.view import SweepView
from prvr_model.reporting import EpochReport
from tests.orchestrator.executors.fake_trials import rising
from tests.orchestrator.helpers import FINGERPRINT, ListSink, run_sweep, small_spec


class Warned(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


class MovingExecutor:
    """Evicts the first trial twice: before its first epoch and after it."""

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        while (request := source.next_trial()) is not None:
            number = request.number
            if number == 0:
                source.on_move(number, FailureCause("NodeLeavingError", "", ""))
                source.on_report(number, EpochReport(1, {"val/SumR": 1.0}, 1001))
                source.on_move(number, FailureCause("NodeDiedError", "", ""))
            rising(request, lambda report, number=number: source.on_report(number, report))
            source.on_end(number)


def test_moves_are_said_counted_and_shown(tmp_path: Path) -> None:
    progress, sink, spec = Warned(), ListSink(), small_spec("search.trials=2")
    run_sweep(spec, Path("/store"), FINGERPRINT, tmp_path, sink=sink, progress=progress,
              executor=MovingExecutor())  # fmt: skip
    assert progress.lines == [
        "trial 0 was evicted before its first epoch (its node is being drained); it continues in "
        "another slot",
        "trial 0 was evicted after epoch 1 (NodeDiedError); it continues in another slot",
    ]
    status = read_status(tmp_path, "small")
    assert [trial.moves for trial in status.trials] == [2, 0]
    assert "evicted, and continued in another slot: trials 0 (2 times)" in render_status(status)
    study = StudyReader.open(study_url(tmp_path), "small")
    again = missing_events(study, spec, Told(), {})
    for events in (sink.events, again):
        view = SweepView("id")
        for event in events:
            view.apply(event)
        tags = {change.run.trial: change.tags.get(MOVES_TAG) for change in view.take_changes()}
        assert (tags[0], tags[1]) == ("2", None)


class AwayStorage:
    """The first trial's folder is unreachable once; the second's for good."""

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        cause = FailureCause("StorageError", "s3://runs: no answer\nand more", "")
        while (request := source.next_trial()) is not None:
            number = request.number
            if number == 1:
                source.on_report(number, EpochReport(1, {"val/SumR": 1.0}, 1001))
                source.on_failure(number, cause)
                continue
            source.on_move(number, cause)
            rising(request, lambda report, number=number: source.on_report(number, report))
            source.on_end(number)


def test_an_unreachable_storage_evicts_no_trial_and_ends_the_sweep_if_it_stays_so(
    tmp_path: Path,
) -> None:
    progress, spec = Warned(), small_spec("search.trials=4")
    with pytest.raises(LocationError, match=r"trials 1: s3://runs: no answer"):
        run_sweep(spec, Path("/store"), FINGERPRINT, tmp_path, progress=progress,
                  executor=AwayStorage())  # fmt: skip
    assert progress.lines[0] == ("trial 0 tries again before its first epoch: s3://runs: no answer")
    assert progress.lines[1].startswith("trial 1 stays unfinished: s3://runs: no answer")
    status = read_status(tmp_path, "small")
    assert status.state == "interrupted"
    assert [(trial.state.value, trial.moves) for trial in status.trials] == [
        ("complete", 0),
        ("running", 0),
    ]


class StoppedExecutor:
    """Starts trials; the first is evicted and begins again, then the user ends the sweep."""

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        spot, own = MachineKind("A10G", is_spot=True), MachineKind("A10G")
        for _ in range(3):
            request = source.next_trial()
            assert request is not None
            if request.number == 2:
                break  # It never gets a slot.
            source.on_start(request.number, TrialStart(1000, (spot,)))
            source.on_report(request.number, EpochReport(1, {"val/SumR": 1.0}, 61_000))
        source.on_move(0, FailureCause("NodeDiedError", "", ""))
        source.on_start(0, TrialStart(91_000, (own,)))
        # Train restarts the workers of the other one by itself.
        source.on_start(1, TrialStart(81_000, (own, own)))
        raise KeyboardInterrupt


def test_the_study_knows_where_trials_ran_and_what_they_lost(tmp_path: Path) -> None:
    spec = small_spec("search.trials=3")
    result = run_sweep(spec, Path("/store"), FINGERPRINT, tmp_path, executor=StoppedExecutor())
    assert result.interrupted
    first, second, third = StudyReader.open(study_url(tmp_path), "small").work_records()
    spot, own = MachineKind("A10G", is_spot=True), MachineKind("A10G")
    assert [event.workers for event in first.events] == [((1, spot),), (), ((1, own),), ()]
    assert [event.epochs for event in first.events] == [0, 1, 1, 1]
    assert [event.workers for event in second.events] == [((1, spot),), (), ((2, own),), ()]
    assert second.events[1].at_ms == 81_000
    assert third.events == ()
    done = work_of(StudyReader.open(study_url(tmp_path), "small"))
    assert [work.kind for work in done] == ["epoch", "lost", "lost"] * 2
