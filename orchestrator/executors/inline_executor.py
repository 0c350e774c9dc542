"""Runs trials one after the other in this process: for debugging, and for small machines.

A debugger stops in the train loop, and no other process is started. A crash of the process (not an
exception) ends the sweep; `resume` continues it.
"""

import time

from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.cluster.machine_kinds import this_kind
from orchestrator.executors.executor import TrialSource
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.retries import with_smaller_batches
from orchestrator.executors.trial_runner import load_trial_function, local_request
from orchestrator.executors.wire import failure_cause
from orchestrator.study.trial import FailureCause, TrialRequest
from orchestrator.study.work_record import TrialStart
from prvr_model.reporting import Decision, EpochReport


class InlineExecutor:
    """Runs trials in this process, one at a time whatever concurrency is asked for.

    Args:
        function: Trial function by name.
    """

    def __init__(self, function: str = TRAIN_TRIAL) -> None:
        self._function = load_trial_function(function)

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        """Run all trials, see `Executor.run`."""
        interruption.check()
        while (request := source.next_trial()) is not None:
            self._run_one(request, source, interruption)
            interruption.check()

    def _run_one(
        self, request: TrialRequest, source: TrialSource, interruption: Interruption
    ) -> None:
        while (cause := self._try(request, source, interruption)) is not None:
            smaller = with_smaller_batches(request, cause)
            if smaller is None:
                source.on_failure(request.number, cause)
                return
            source.on_move(request.number, cause)
            request = smaller
        source.on_end(request.number)

    def _try(
        self, request: TrialRequest, source: TrialSource, interruption: Interruption
    ) -> FailureCause | None:
        """Run a trial; the cause if it fails, not the error, which would keep its memory."""
        guarded = _GuardedSource(source, request.number, interruption)
        source.on_start(request.number, TrialStart(time.time_ns() // 1_000_000, (this_kind(),)))
        try:
            with interruption.at_once():
                self._function(local_request(request), guarded.report)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told to the source with its cause
            if guarded.error is not None:
                raise guarded.error from None
            return failure_cause(error)
        return None


class _GuardedSource:
    """Passes reports on, and keeps errors of the source apart from those of the trial."""

    def __init__(self, source: TrialSource, number: int, interruption: Interruption) -> None:
        self._source = source
        self._number = number
        self._interruption = interruption
        self.error: Exception | None = None

    def report(self, report: EpochReport) -> Decision:
        with self._interruption.held():
            try:
                decision = self._source.on_report(self._number, report)
            except Exception as error:
                self.error = error
                raise
        return decision
