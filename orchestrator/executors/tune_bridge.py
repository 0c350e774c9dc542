"""Connects Ray Tune to our trial source: a searcher, a scheduler and a callback that forward.

`TrialErrors` says why a trial failed: what its process told, or what became of its process.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import ray
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.cluster.machine_kinds import kind_of, node_types
from orchestrator.cluster.ray_environment import replaced
from orchestrator.executors.executor import TrialSource
from orchestrator.executors.group_host import GroupCollector
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.retries import (
    OUT_OF_MEMORY,
    PROCESS_LOST,
    EvictedTrials,
    GroupSizes,
    memory_message,
    with_smaller_batches,
)
from orchestrator.executors.start_limit import StartLimit
from orchestrator.executors.wire import (
    PLACES,
    TrialFailedError,
    WorkerPlace,
    failure_cause,
    places_from_json,
    report_from_json,
    request_to_json,
)
from orchestrator.study.trial import FailureCause, TrialRequest
from orchestrator.study.work_record import TrialStart
from prvr_model.reporting import Decision, EpochReport

_T = TypeVar("_T")


class SourceBrokenError(BaseException):
    """Leaves Tune, which would take an Exception for a trial's; see `Bridge.error`."""


class Bridge:
    """The source as Tune's searcher, scheduler and callback see it; one thread calls them."""

    def __init__(
        self,
        source: TrialSource,
        room: int,
        interruption: Interruption,
        evicted: EvictedTrials,
        sizes: GroupSizes,
        limit: StartLimit,
    ) -> None:
        self._source = source
        self._room = room
        self._interruption = interruption
        self._evicted = evicted
        self._sizes = sizes
        self._limit = limit
        self._node_types = node_types()
        self._live: dict[str, TrialRequest] = {}
        # Whether to ask the source: after a None, not until a trial has ended.
        self._has_more = True
        self.error: Exception | None = None

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Keep the source out of the pickles that Tune writes to its scratch folder."""
        return object, ()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configuration of a new Tune trial; None: wait; FINISHED: there are no more trials."""
        if len(self._live) >= self._room:
            return None
        request = self._evicted.next() or self._new()
        if request is None:
            # A running trial may be requeued or start a round; after FINISHED Tune asks no more.
            return None if self._live else str(Searcher.FINISHED)
        self._live[trial_id] = request
        return {
            "number": request.number,
            "request": request_to_json(request),
            "workers": self._sizes.of(request.number),
        }

    def _new(self) -> TrialRequest | None:
        request = self._guard(self._source.next_trial) if self._has_more else None
        self._has_more = request is not None
        return request

    def start(self, trial_id: str, places: Sequence[WorkerPlace]) -> None:
        """A trial's workers began, or began again."""
        kinds = tuple(kind_of(place.labels, self._node_types) for place in places)
        start = TrialStart(min(place.begun_ms for place in places), kinds)
        number = self._live[trial_id].number
        self._guard(lambda: self._source.on_start(number, start))

    def report(self, trial_id: str, report: EpochReport) -> Decision:
        """A trial reported an epoch."""
        number = self._live[trial_id].number
        self._evicted.reported(number, report.epoch)
        return self._guard(lambda: self._source.on_report(number, report))

    def end(self, trial_id: str) -> None:
        """A trial ended without an error."""
        request = self._live.pop(trial_id, None)
        if request is not None:
            self._has_more = True
            self._guard(lambda: self._source.on_end(request.number))

    def fail(self, trial_id: str, cause: FailureCause) -> None:
        """A trial has failed, or was evicted and will be suggested again."""
        request = self._live.pop(trial_id, None)
        self._has_more = True
        if request is None:
            return
        workers = self._sizes.of(request.number)
        if self._sizes.shrink(request.number, cause):
            self._evicted.requeue(request, cause)
        elif smaller := with_smaller_batches(request, cause, workers):
            self._evicted.requeue(smaller, cause)
        elif not self._evicted.requeue_evicted(request, cause):
            self._guard(lambda: self._source.on_failure(request.number, cause))
            return
        self._guard(lambda: self._source.on_move(request.number, cause))

    def check(self, asked: Mapping[str, float] | None) -> None:
        """Leave Tune if the user interrupts or no trial starts, see `StartLimit.look`."""
        self._interruption.check()
        self._guard(lambda: self._limit.look(asked))

    def _guard(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except Exception as error:
            self.error = error
            raise SourceBrokenError from error


class TuneSearcher(Searcher):  # type: ignore[misc]
    """Asks the source for trials and tells it of those that ended."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See Tune's `Searcher`."""
        return self._bridge.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """See Tune's `Searcher`."""
        if not error:  # else `Watcher` reports it, with the cause
            self._bridge.end(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study holds all state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see `save`."""


class TuneScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes starts and rows to the source, and its decision to Tune."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """See Tune's `FIFOScheduler`."""
        if PLACES in result:
            self._bridge.start(trial.trial_id, places_from_json(result[PLACES]))
        if "row" not in result:
            return str(TrialScheduler.CONTINUE)
        decision = self._bridge.report(trial.trial_id, report_from_json(result["row"]))
        stop = decision is Decision.STOP
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class Watcher(TrialProgressCallback):  # type: ignore[misc]
    """Reports failures with their cause; at every step checks for Ctrl-C and for waiting trials.

    It replaces Tune's own reporter, which cannot be silenced.
    """

    def __init__(
        self, bridge: Bridge, errors: "TrialErrors", collector: GroupCollector | None
    ) -> None:
        super().__init__()
        self._bridge = bridge
        self._errors = errors
        self._collector = collector

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """See Tune's `Callback`."""
        self._bridge.check(_waits_for(trials))
        if self._collector is not None:
            self._collector.collect_now_and_then()

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """See Tune's `Callback`."""
        self._bridge.fail(trial.trial_id, self._errors.cause_of(trial.trial_id))

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        """Do nothing: the source shows progress."""

    def _print(self, msg: str) -> None:
        """Do nothing, see `log_result`."""


def _waits_for(trials: Sequence[Trial]) -> Mapping[str, float] | None:
    """Resources of a waiting trial; None: no trial waits for a slot, or one runs."""
    waiting = None
    for trial in trials:
        if trial.status == Trial.RUNNING:
            return None
        if trial.status == Trial.PENDING:
            waiting = trial
    if waiting is None:
        return None
    asked: Mapping[str, float] = waiting.placement_group_factory.required_resources
    return asked


def ray_room() -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Total and free resources of the cluster."""
    return ray.cluster_resources(), ray.available_resources()


_UNKNOWN = "UnknownError"


class TrialErrors:
    """What Ray raised for trials that failed; Tune itself hands on only some kinds of it.

    Args:
        oom_kills: Counts the processes that the kernel has killed for memory so far.
        keep_logs: Keeps Ray's logs and gives words that say where, empty where it has none.
    """

    def __init__(self, oom_kills: Callable[[], int], keep_logs: Callable[[], str]) -> None:
        self._oom_kills = oom_kills
        self._keep_logs = keep_logs
        self._explained_kills = oom_kills()
        self._errors: dict[str, BaseException | None] = {}

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """As that of `Bridge`."""
        return object, ()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take note of errors for as long as the block runs."""
        tunes_own: Callable[..., None] = Trial.handle_error

        def handle_error(trial: Trial, exc: BaseException | None = None) -> None:
            self._errors[trial.trial_id] = exc
            tunes_own(trial, exc)

        with replaced(Trial, "handle_error", handle_error):
            yield

    def cause_of(self, trial_id: str) -> FailureCause:
        """Why a trial failed: what it sent, or what became of its process."""
        error = self._errors.pop(trial_id, None)
        told = getattr(error, "cause", None)
        if isinstance(told, TrialFailedError):
            cause = told.cause
        elif error is None:
            cause = FailureCause(_UNKNOWN, "Ray does not say why", "")
        else:
            cause = failure_cause(error)
        if cause.kind != _UNKNOWN and cause.kind not in PROCESS_LOST:
            return cause
        if self._oom_kills() > self._explained_kills:
            self._explained_kills += 1
            killed = MemoryError("its process was killed by the kernel for memory")
            return replace(cause, kind=OUT_OF_MEMORY, message=memory_message(killed))
        first, newline, rest = cause.message.partition("\n")
        message = f"{first.rstrip('.')}{self._keep_logs()}{newline}{rest}"
        return replace(cause, message=message)
