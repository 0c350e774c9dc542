"""What every executor owes the source; each implementation's test inherits `ExecutorContract`."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import psutil
import pytest

from orchestrator.executors.executor import Executor
from orchestrator.executors.interruption import Interruption
from orchestrator.study.trial import FailureCause, TrialRequest
from orchestrator.study.work_record import TrialStart
from prvr_model.reporting import Decision, EpochReport
from prvr_model.settings import SpeedSettings, build_settings
from tests.leftovers import children_besides

FAKES = "tests.orchestrator.executors.fake_trials"
EPOCHS = 3
STOPPED_NUMBER = 7
# Comes in a round of its own, after all others have ended.
LATER_NUMBER = 8
# Numbers whose trial of `tests.orchestrator.executors.fake_trials.mixed` fails.
ERROR_NUMBER, EXIT_NUMBER, EMPTY_NUMBER = 1, 2, 3


def request(number: int) -> TrialRequest:
    """A trial that nobody can train; the fakes do not try."""
    return TrialRequest(
        sweep="contract",
        number=number,
        key=f"{number:016x}",
        parameters={"losses.tau": 0.8, "losses.cross_branch": "off", "nothing": None},
        settings=build_settings("tvr", {"training.epochs": EPOCHS}),
        speed=SpeedSettings(),
        store="/store",
        data_fingerprint="0" * 64,
        folder=f"/storage/contract/trials/{number:05d}",
    )


@dataclass
class RecordingSource:
    """Hands out trials and writes down what it is told; stops one trial at its second epoch.

    Those of `later` come when nothing runs any more.
    """

    numbers: list[int]
    later: list[int] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[int, list[TrialStart]] = field(default_factory=lambda: defaultdict(list))
    reports: dict[int, list[EpochReport]] = field(default_factory=lambda: defaultdict(list))
    causes: dict[int, FailureCause] = field(default_factory=dict)
    moves: list[tuple[int, str]] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    live: set[int] = field(default_factory=set)
    most_live: int = 0
    began_later: list[int] = field(default_factory=list)

    def next_trial(self) -> TrialRequest | None:
        if not self.numbers and not self.live and self.later:
            self.numbers, self.later = self.later, []
            self.began_later = sorted(self.calls)
        if not self.numbers:
            return None
        number = self.numbers.pop(0)
        self.calls[number].append("begin")
        self.live.add(number)
        self.most_live = max(self.most_live, len(self.live))
        return request(number)

    def on_start(self, number: int, start: TrialStart) -> None:
        assert number in self.live
        self.starts[number].append(start)

    def on_report(self, number: int, report: EpochReport) -> Decision:
        assert number in self.live
        assert self.starts[number]
        self.calls[number].append("report")
        self.reports[number].append(report)
        stop = number == STOPPED_NUMBER and report.epoch == 2
        return Decision.STOP if stop else Decision.CONTINUE

    def on_end(self, number: int) -> None:
        self.calls[number].append("end")
        self.live.remove(number)

    def on_move(self, number: int, cause: FailureCause) -> None:
        self.moves.append((number, cause.kind))

    def on_failure(self, number: int, cause: FailureCause) -> None:
        self.calls[number].append("failure")
        self.causes[number] = cause
        self.live.remove(number)

    def on_wait(self, message: str) -> None:
        self.waits.append(message)


class BrokenSourceError(Exception):
    """A full disk under the study, say."""


class BrokenSource(RecordingSource):
    """Cannot take reports."""

    def on_report(self, number: int, report: EpochReport) -> Decision:
        raise BrokenSourceError("the study cannot be written")


class ExecutorContract:
    """Tests that every executor passes; `make` builds one that runs a trial function."""

    make: ClassVar[Callable[[str], Executor]]
    concurrency: ClassVar[int] = 1
    exit_kind: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def told(cls) -> RecordingSource:
        """What a source was told in one run of nine trials of every kind."""
        source = RecordingSource(list(range(8)), later=[LATER_NUMBER])
        executor = cls.make(f"{FAKES}:mixed")
        executor.run(source, cls.concurrency, Interruption())
        return source

    def test_every_trial_is_run_and_ends_once(self, told: RecordingSource) -> None:
        assert not told.live
        for number in range(9):
            calls = told.calls[number]
            assert calls[0] == "begin"
            assert [call for call in calls if call in ("end", "failure")] == [calls[-1]]

    def test_another_round_begins_when_nothing_runs(self, told: RecordingSource) -> None:
        assert told.began_later == list(range(8))
        assert told.calls[LATER_NUMBER] == ["begin", "report", "report", "report", "end"]

    def test_reports_arrive_in_order_with_every_bit(self, told: RecordingSource) -> None:
        assert [report.epoch for report in told.reports[0]] == [1, 2, 3]
        assert [report.timestamp_ms for report in told.reports[0]] == [1001, 1002, 1003]
        tau = request(0).settings.losses.tau
        assert told.reports[0][2].metrics["val/SumR"] == 100 * tau * (1 - 0.5**3)

    def test_a_start_is_told_once_with_the_machine_of_each_worker(
        self, told: RecordingSource
    ) -> None:
        for number in (0, LATER_NUMBER):
            (start,) = told.starts[number]
            assert abs(time.time() - start.begun_ms / 1000) < 3600
            assert len(start.machines) == 1

    def test_repeated_epochs_are_passed_on(self, told: RecordingSource) -> None:
        """They are the source's to drop."""
        assert [report.epoch for report in told.reports[6]] == [1, 2, 3, 1, 2, 3]

    def test_stopped_trial_reports_no_more_and_has_ended(self, told: RecordingSource) -> None:
        assert told.calls[STOPPED_NUMBER] == ["begin", "report", "report", "end"]

    def test_error_comes_with_class_message_and_traceback(self, told: RecordingSource) -> None:
        cause = told.causes[ERROR_NUMBER]
        assert cause.kind == "UnpicklableError"
        assert cause.message == "tau of trial 1 cannot be used"
        assert "fake_trials.py" in cause.traceback

    def test_trial_that_leaves_the_process_fails(self, told: RecordingSource) -> None:
        assert told.causes[EXIT_NUMBER].kind == self.exit_kind

    def test_trial_without_epochs_has_ended(self, told: RecordingSource) -> None:
        assert told.calls[EMPTY_NUMBER] == ["begin", "end"]

    def test_unusable_values_are_passed_on(self, told: RecordingSource) -> None:
        value = told.reports[4][0].metrics["val/SumR"]
        assert value != value  # NaN
        assert told.reports[5][0].metrics == {"loss": 1.0}

    def test_concurrency_is_kept(self, told: RecordingSource) -> None:
        assert told.most_live <= self.concurrency

    def test_error_of_the_source_ends_the_run_and_leaves_nothing(self) -> None:
        before = psutil.Process().children(recursive=True)
        executor = type(self).make(f"{FAKES}:rising")
        source = BrokenSource([0, 1])
        with pytest.raises(BrokenSourceError, match="cannot be written"):
            executor.run(source, 1, Interruption())
        assert not source.causes
        assert not children_besides(before)
