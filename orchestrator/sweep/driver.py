"""The driver decides which trial is trained next and what each report and each end means.

A trial is pruned only if the pruner ended it, failed if it raised an error or reported an unusable
value, complete otherwise. An end that an earlier driver decided and did not record is recorded
here without training; events that it did not send to the tracker are sent.
"""

import math

from orchestrator.base.text import first_line
from orchestrator.executors.retries import LEFT, OUT_OF_MEMORY, STORAGE
from orchestrator.study.reuse import KnownResults, TakenOver
from orchestrator.study.searcher import RefusedTrial, Searcher
from orchestrator.study.study import SweepStudy
from orchestrator.study.trial import FailureCause, TrialRequest, TrialState
from orchestrator.study.work_record import TrialStart
from orchestrator.sweep.trial_queue import TrialQueue
from orchestrator.sweep.trial_teller import TrialTeller, now_ms
from prvr_model.reporting import Decision, EpochReport

# Metric of an epoch: how many workers trained it.
WORKERS_METRIC = "workers"


class SweepDriver:
    """The `TrialSource` of a sweep.

    Args:
        metric: The metric that is the objective.
        study: The sweep's study, open for writing.
        searcher: Draws its trials.
        queue: Says which trial comes next.
        teller: Tells tracker and user what happens.
        known: Results that can be copied instead of training; None: every trial is trained.
    """

    def __init__(
        self,
        metric: str,
        study: SweepStudy,
        searcher: Searcher,
        queue: TrialQueue,
        teller: TrialTeller,
        known: KnownResults | None = None,
    ) -> None:
        self._metric = metric
        self._study = study
        self._searcher = searcher
        self._queue = queue
        self._teller = teller
        self._known = known
        self._costs = study.goals.costs
        self._running: dict[int, TrialRequest] = {}
        # Those of them that have a slot, as far as the executor tells.
        self._placed: set[int] = set()
        self._taken: dict[int, TakenOver] = {}
        self._stopped: set[int] = set()
        self._refused: dict[int, FailureCause] = {}
        self._broken: dict[int, FailureCause] = {}

    @property
    def broken_storage(self) -> str | None:
        """Why trials could not read or write their folders; None if all of them could."""
        if not self._broken:
            return None
        numbers = ", ".join(map(str, sorted(self._broken)))
        first = next(iter(self._broken.values()))
        return f"trials {numbers}: {first.message}"

    def next_trial(self) -> TrialRequest | None:
        """The next trial to train; trials that need no training are begun and ended on the way."""
        while not self._broken and (trial := self._queue.next(self._running_keys())) is not None:
            if isinstance(trial, RefusedTrial):
                self._teller.refused(trial, self._searcher.planned)
                self._ended(trial.number)
            elif self._known is not None and trial.key in self._running_keys():
                self._queue.hold(trial)
            else:
                self._take_over(trial)
                self._begin(trial)
                if not self._was_over(trial) and not self._was_taken(trial):
                    return trial
        return None

    def on_start(self, number: int, start: TrialStart) -> None:
        """Record when and where a trial runs."""
        if number in self._placed:
            # Its workers were restarted without a move; until then it had its slot.
            self._study.note_loss(number, start.begun_ms)
        self._study.note_start(number, start)
        self._placed.add(number)

    def on_report(self, number: int, report: EpochReport) -> Decision:
        """Record an epoch; STOP if the pruner says so or the objective's value is unusable."""
        value = report.metrics.get(self._metric)
        if value is None or not math.isfinite(value):
            self._refused[number] = self._unusable(report, value)
            return Decision.STOP
        if self._costs:
            missing = [name for name in self._costs if name not in report.metrics]
            if missing:
                self._refused[number] = _not_reported(report, missing[0])
                return Decision.STOP
            self._study.note_costs(number, {name: report.metrics[name] for name in self._costs})
        recorded = self._study.record_epoch(
            number,
            report.epoch,
            value,
            report.timestamp_ms,
            is_judged=self._is_judged(number, report.epoch),
        )
        if recorded.decision is Decision.STOP:
            self._stopped.add(number)
        if recorded.is_new and WORKERS_METRIC in report.metrics:
            self._study.note_workers(number, int(report.metrics[WORKERS_METRIC]))
        self._teller.epoch(number, report, value, is_new=recorded.is_new)
        return recorded.decision

    def on_end(self, number: int) -> None:
        """A trial ended without raising an error."""
        if number in self._refused:
            self._fail(number, self._refused.pop(number))
        elif not self._study.rows(number):
            message = "the trial ended without reporting an epoch"
            self._fail(number, FailureCause("NoEpochError", message, ""))
        elif number in self._stopped:
            self._study.tell_pruned(number)
            self._finish(number)
        else:
            self._study.tell_complete(number)
            self._finish(number)

    def on_failure(self, number: int, cause: FailureCause) -> None:
        """A trial raised an error; if it reported an unusable value before, that is the cause.

        An unusable storage is no failure of the trial: the trial stays unfinished, no other one
        begins, and it continues from its checkpoint when the sweep is resumed.
        """
        if cause.kind == STORAGE and number not in self._refused:
            self._broken[number] = cause
            self._note_loss(number)
            del self._running[number]
            self._teller.warn(f"trial {number} stays unfinished: {cause.message}")
            return
        self._fail(number, self._refused.pop(number, cause))

    def on_move(self, number: int, cause: FailureCause) -> None:
        """A trial continues from its last checkpoint after it was evicted or ran out of memory."""
        self._note_loss(number)
        rows = self._study.rows(number)
        where = f"after epoch {rows[-1].epoch}" if rows else "before its first epoch"
        if cause.kind == OUT_OF_MEMORY:
            how = "it continues with smaller micro-batches"
            self._teller.warn(f"trial {number} ran out of memory {where}; {how}")
            return
        if cause.kind == STORAGE:
            first = first_line(cause.message)
            self._teller.warn(f"trial {number} tries again {where}: {first}")
            return
        evictions = self._study.note_move(number)
        why = "its node is being drained" if cause.kind == LEFT else cause.kind
        self._teller.warn(
            f"trial {number} was evicted {where} ({why}); it continues in another slot"
        )
        self._teller.evicted(number, evictions)

    def on_wait(self, message: str) -> None:
        """Trials wait for a slot while none runs."""
        self._teller.warn(message)

    def on_interruption(self) -> None:
        """The sweep ends before its trials: they lose what follows their last epoch."""
        for number in sorted(self._placed):
            self._note_loss(number)

    def _note_loss(self, number: int) -> None:
        """Record that a trial lost its slot, if it had one."""
        if number in self._placed:
            self._study.note_loss(number, now_ms())
            self._placed.remove(number)

    def _running_keys(self) -> set[str]:
        return {request.key for request in self._running.values()}

    def _take_over(self, request: TrialRequest) -> None:
        """Copy the result of another trial of the same key, if there is one.

        The files are copied before the study records it: after a kill in between, the next driver
        copies again, or trains. A trial that has trained an epoch itself is never replaced.
        """
        number = request.number
        trial = self._study.summary(number)
        if self._known is None or (self._study.rows(number) and not trial.is_taken):
            return
        taken = self._known.own(request, trial) or self._known.take_over(request)
        if taken is not None:
            self._taken[number] = taken
        found = (taken.origin, taken.epochs) if taken else (None, None)
        if found != (trial.taken_from, trial.taken_epochs):
            self._study.set_taken_from(number, *found)

    def _begin(self, request: TrialRequest) -> None:
        self._running[request.number] = request
        trial = self._study.summary(request.number)
        self._teller.started(request, trial, self._searcher.planned)

    def _was_over(self, request: TrialRequest) -> bool:
        """Record the end that an earlier driver decided; False: the trial must be trained."""
        number = request.number
        cause = self._study.summary(number).cause
        if cause is not None:
            self.on_failure(number, cause)
            return True
        rows = self._study.rows(number)
        if not rows:
            return False
        last = rows[-1]
        is_stopped = last.decision is Decision.STOP
        if not is_stopped and last.epoch < request.settings.training.epochs:
            return False
        if not self._teller.catch_up(request, {row.epoch for row in rows}):
            return False
        if is_stopped:
            self._stopped.add(number)
        self.on_end(number)
        return True

    def _was_taken(self, request: TrialRequest) -> bool:
        """Report a copied result as if it had been trained; False: the trial must be trained.

        The pruner is not asked of a trial that ran to its end elsewhere: it is complete here.
        One that was pruned is judged again; where it goes on now, it is trained from there.
        """
        number = request.number
        taken = self._taken.get(number)
        if taken is None:
            return False
        decisions = (self.on_report(number, report) for report in taken.reports)
        is_stopped = any(decision is Decision.STOP for decision in decisions)
        if not taken.is_whole and not is_stopped:
            del self._taken[number]
            return False
        self.on_end(number)
        return True

    def _is_judged(self, number: int, epoch: int) -> bool:
        """Whether the pruner judges an epoch.

        It never judges planned trials, which are compared with others of the same budget, nor
        the copied results of complete ones.
        """
        is_last = epoch >= self._running[number].settings.training.epochs
        is_planned = number in self._searcher.planned.trials
        is_copied = number in self._taken and self._taken[number].is_whole
        return not is_last and not is_planned and not is_copied

    def _fail(self, number: int, cause: FailureCause) -> None:
        """Record a failure; a trial that was complete before an extension stays complete."""
        before = self._study.summary(number).continued_from_epochs
        if before is None:
            self._study.tell_failed(number, cause)
        else:
            first = first_line(cause.message)
            self._teller.warn(
                f"trial {number} stays complete as it was after {before} epochs; continuing it "
                f"failed: {cause.kind}: {first}"
            )
            self._note_loss(number)
            self._study.tell_complete(number)
        self._finish(number)

    def _finish(self, number: int) -> None:
        del self._running[number]
        self._placed.discard(number)
        self._stopped.discard(number)
        self._taken.pop(number, None)
        self._ended(number)

    def _ended(self, number: int) -> None:
        trial = self._study.summary(number)
        self._teller.ended(trial)
        if self._known is None:
            return
        if trial.state is TrialState.COMPLETE:
            self._known.completed(trial)
        elif trial.state is TrialState.PRUNED and trial.over_limit is None:
            self._known.pruned(trial)

    def _unusable(self, report: EpochReport, value: float | None) -> FailureCause:
        if value is None:
            return _not_reported(report, self._metric)
        message = (
            f"{self._metric} was {value} at epoch {report.epoch}; a lower learning rate may help"
        )
        return FailureCause("NonFiniteObjectiveError", message, "")


def _not_reported(report: EpochReport, metric: str) -> FailureCause:
    names = ", ".join(sorted(report.metrics))
    message = f"epoch {report.epoch} reported no {metric}; reported: {names}"
    return FailureCause("MissingMetricError", message, "")
