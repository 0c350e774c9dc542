"""Trials of several workers on Ray Train: rows, stops, losses, errors, and what is left of them."""

import psutil
import pytest

from orchestrator.base.errors import SpecError
from orchestrator.base.machine import available_cpus
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.tune_executor import TrialSlot, TuneExecutor
from prvr_model.reporting import Decision, EpochReport
from tests.leftovers import children_besides
from tests.orchestrator.executors.executor_contract import (
    LATER_NUMBER,
    BrokenSource,
    BrokenSourceError,
    RecordingSource,
)
from tests.orchestrator.executors.fake_group_trials import (
    KEEPERS,
    LOSES_A_WORKER,
    ONE_RAISES,
    RAISES,
    STOPPED,
    SUM_NAME,
)
from tests.orchestrator.executors.freed_executor import FreedExecutor

FAKES = "tests.orchestrator.executors.fake_group_trials"
needs_two_cpus = pytest.mark.skipif(
    available_cpus() < 2, reason="two workers need a CPU each, and there is one"
)


class StoppingSource(RecordingSource):
    """Stops some trials at their first row."""

    stopped: frozenset[int] = frozenset({STOPPED})

    def on_report(self, number: int, report: EpochReport) -> Decision:
        super().on_report(number, report)
        return Decision.STOP if number in self.stopped else Decision.CONTINUE


def run(function: str, source: RecordingSource, start_limit_s: float = 300) -> FreedExecutor:
    """Run trials of two workers to their end."""
    executor = FreedExecutor(f"{FAKES}:{function}", start_limit_s=start_limit_s)
    executor.run(source, None, Interruption())
    return executor


@needs_two_cpus
@pytest.mark.soak
class TestGroups:
    """One Ray for all: it and each group take many seconds to start."""

    @pytest.fixture(scope="class")
    @classmethod
    def ran(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordingSource, FreedExecutor]:
        source = StoppingSource([STOPPED, RAISES, LOSES_A_WORKER, ONE_RAISES])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PRVR_TEST_MARKERS", str(tmp_path_factory.mktemp("markers")))
            return source, run("various", source)

    def test_stop_after_the_first_row_ends_the_trial(
        self, ran: tuple[RecordingSource, FreedExecutor]
    ) -> None:
        assert ran[0].calls[STOPPED] == ["begin", "report", "end"]

    def test_rows_are_the_first_workers_and_hold_what_all_exchanged(
        self, ran: tuple[RecordingSource, FreedExecutor]
    ) -> None:
        assert ran[0].reports[STOPPED][0].metrics[SUM_NAME] == 1 + 2

    def test_error_of_the_trial_arrives_with_its_cause_at_once(
        self, ran: tuple[RecordingSource, FreedExecutor]
    ) -> None:
        source, executor = ran
        cause = source.causes[RAISES]
        assert cause.kind == "NonFiniteError"
        assert cause.message.startswith("train/total is not finite in epoch 1, step 1")
        assert "fake_group_trials.py" in cause.traceback
        # One of Tune and one of Train for each trial, and one more for the lost worker's trial.
        assert executor.num_groups == 2 * 4 + 1

    def test_error_of_one_worker_that_cannot_be_pickled_is_the_cause(
        self, ran: tuple[RecordingSource, FreedExecutor]
    ) -> None:
        cause = ran[0].causes[ONE_RAISES]
        assert cause.kind == "UnpicklableError"
        assert cause.message == f"tau of trial {ONE_RAISES} cannot be used"
        assert "fake_group_trials.py" in cause.traceback

    def test_lost_worker_is_replaced_and_the_trial_completes(
        self, ran: tuple[RecordingSource, FreedExecutor]
    ) -> None:
        source, _ = ran
        assert [report.epoch for report in source.reports[LOSES_A_WORKER]] == [1, 1, 2, 3]
        assert source.calls[LOSES_A_WORKER][-1] == "end"

    def test_everything_is_freed(self, ran: tuple[RecordingSource, FreedExecutor]) -> None:
        assert ran[1].occupied == {}
        assert ran[1].groups == []


def test_workers_that_can_never_fit_are_refused_before_anything_starts() -> None:
    with pytest.raises(SpecError, match=r"resources\.(cpus|workers)"):
        TuneExecutor(TrialSlot(workers=9999))


@needs_two_cpus
@pytest.mark.soak
class TestLongRuns:
    def test_trials_with_early_stopping_return_every_resource(self) -> None:
        source = StoppingSource([0, 1], later=[LATER_NUMBER])
        source.stopped = frozenset({0})
        executor = run("rising", source)
        numbers = [0, 1, LATER_NUMBER]
        assert [source.calls[number][-1] for number in numbers] == ["end"] * 3
        assert {len(source.reports[number]) for number in source.stopped} == {1}
        assert source.began_later == [0, 1]
        assert executor.num_groups == 2 * 3
        assert executor.occupied == {}
        assert executor.groups == []

    def test_error_of_the_source_ends_the_run_and_leaves_nothing(self) -> None:
        before = psutil.Process().children(recursive=True)
        with pytest.raises(BrokenSourceError, match="cannot be written"):
            run("rising", BrokenSource([0]))
        assert not children_besides(before)

    def test_workers_that_do_not_heed_a_stop_are_ended(self) -> None:
        before = psutil.Process().children(recursive=True)
        source = StoppingSource([STOPPED, 7])
        source.stopped = frozenset({STOPPED, 7})
        executor = run("deaf", source)
        assert source.calls[STOPPED] == source.calls[7] == ["begin", "report", "end"]
        assert executor.occupied == {}
        assert executor.groups == []
        assert not children_besides(before)

    def test_killed_keeper_fails_the_trial_and_everything_is_freed(self) -> None:
        source = RecordingSource([*KEEPERS])
        executor = run("killing_its_keeper", source)
        assert [source.causes[number].kind for number in KEEPERS] == ["ActorDiedError"] * 2
        assert executor.occupied == {}
        assert executor.groups == []

    def test_no_place_for_the_workers_is_said_within_the_limit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was free at the start is not any more: a node has gone."""
        monkeypatch.setattr("orchestrator.executors.ray_session.available_cpus", lambda: 1)
        source = RecordingSource([8])
        executor = run("rising", source, start_limit_s=8)
        cause = source.causes[8]
        assert cause.kind == "NoSlotError"
        assert "2 workers with 1 CPU each found no slot within 8 s" in cause.message
        assert executor.occupied == {}
        assert executor.groups == []
