"""Trials on Ray Tune: in reused actors, or each in a group of workers, on our own Ray or another.

Tune hands out processes and carries rows; it decides nothing. Its searcher and scheduler here only
ask the source, its own state is scratch, and what it would print is turned off.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.cluster.capacity import (
    COMING_LIMIT_S,
    MemoryNeed,
    Node,
    RunningCluster,
    TrialNeeds,
    needs_driver,
)
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.executors.attached_ray import attached_ray
from orchestrator.executors.executor import Interruption, TrialSource
from orchestrator.executors.free_slots import free_slots
from orchestrator.executors.group_host import (
    START_LIMIT_S,
    GroupCollector,
    GroupShape,
    group_trainable,
)
from orchestrator.executors.group_sizes import GroupSizes
from orchestrator.executors.node_watch import watch_this_node
from orchestrator.executors.ray_session import own_ray
from orchestrator.executors.retries import MAX_LOSSES, LostTrials
from orchestrator.executors.sent_store import SentStore, send_store
from orchestrator.executors.smaller_batches import with_smaller_batches
from orchestrator.executors.start_limit import StartLimit
from orchestrator.executors.trial_data import local_request
from orchestrator.executors.trial_runner import (
    TrialFailedError,
    failure_cause,
    load_trial_function,
    report_from_json,
    report_to_json,
    request_from_json,
    request_to_json,
)
from orchestrator.study.trial import FailureCause, TrialRequest
from prvr_model.reporting import Decision, EpochReport

_T = TypeVar("_T")


class TuneExecutor:
    """Runs trials in worker processes, on this machine or on a running cluster.

    Args:
        cpus: CPUs of each worker.
        gpus: GPUs of each worker; a fraction lets trials of one worker share one.
        threads: Threads of a worker's numerical libraries.
        function: Trial function by name; workers import it. With several workers it takes them
            as its third argument.
        workers: Workers that train one trial together.
        memory: Memory of a worker; None: not known.
        start_limit_s: Seconds in which the workers of a trial must find their place; else it
            fails. Where trials wait so long and none runs, the sweep ends.
        cluster: Where trials run; None: on a Ray of our own on this machine.
        max_losses: Times that a trial may lose its process or node between two epochs that it
            completes; it goes on from its checkpoint each time, and then has failed.
        min_workers: The fewest workers with which a trial goes on; None: `workers`.

    Raises:
        SpecError: Not one trial fits there.
    """

    def __init__(
        self,
        cpus: int,
        gpus: float,
        threads: int,
        function: str = TRAIN_TRIAL,
        workers: int = 1,
        memory: MemoryNeed | None = None,
        start_limit_s: float | None = None,
        cluster: RunningCluster | None = None,
        max_losses: int = MAX_LOSSES,
        min_workers: int | None = None,
    ) -> None:
        self._min_workers = min_workers or workers
        self._max_losses = max_losses
        growing = cluster is not None and cluster.is_growing
        limit_s = start_limit_s or (COMING_LIMIT_S if growing else START_LIMIT_S)
        self._threads = threads
        self._function = function
        needs = TrialNeeds(workers, cpus, gpus, memory)
        self._cluster = cluster
        self._packing = pack_or_refuse(needs, cluster.nodes if cluster else [Node.here()])
        self._shape = GroupShape(workers, self._bundle(), limit_s)

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        """Run all trials, see `Executor.run`.

        Raises:
            NothingStartsError: Trials wait for a place and none runs.
        """
        room = self._packing.trials
        lost = LostTrials(self._max_losses)
        shape = self._shape
        sizes = GroupSizes(shape.workers, self._min_workers, lambda: free_slots(shape.bundle))
        limit = StartLimit(shape.start_limit_s, _room, source.on_wait)
        bridge = _Bridge(source, min(concurrency or room, room), interruption, lost, sizes, limit)
        with self._ray(interruption) as scratch:
            try:
                self._fit(bridge, scratch)
            except _SourceBrokenError:
                assert bridge.error is not None
                raise bridge.error from None
        interruption.check()

    def _ray(self, interruption: Interruption) -> AbstractContextManager[Path]:
        if self._cluster is None:
            return own_ray(self._threads, interruption)
        return attached_ray(self._cluster.address, self._threads, interruption)

    def _fit(self, bridge: "_Bridge", scratch: Path) -> None:
        several = self._shape.workers > 1
        collector = GroupCollector()
        # Its pieces go when nobody here holds their references.
        sent = self._sent_store()
        tuner = tune.Tuner(
            self._group_trainable(scratch, sent) if several else self._alone(sent),
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(bridge),
                scheduler=_Scheduler(bridge),
                num_samples=-1,  # the searcher says when it is enough
                reuse_actors=not several,  # an idle one would keep its last group waiting
                trial_name_creator=_trial_name,
                trial_dirname_creator=_attempt_name,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch / "tune"),
                verbose=0,
                # A trial's folder is its checkpoint; Tune would ask for one of its own.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[_Watcher(bridge, collector if several else None)],
            ),
        )
        tuner.fit()
        collector.collect()

    def _sent_store(self) -> SentStore | None:
        if self._cluster is None or self._cluster.sent_store is None:
            return None
        return send_store(Path(self._cluster.sent_store))

    def _alone(self, sent: SentStore | None) -> Callable[[Mapping[str, Any]], None]:
        asked = tune.PlacementGroupFactory([dict(self._shape.bundle)])
        trainable: Callable[[Mapping[str, Any]], None] = tune.with_resources(
            _trainable(self._function, self._drains, sent), asked
        )
        return trainable

    def _bundle(self) -> dict[str, float]:
        """What each worker asks of Ray."""
        bundle = self._packing.bundle
        if self._cluster is None:
            # Nobody else places anything there, and Ray counts memory in another way than we do.
            bundle.pop("memory", None)
        elif "memory" in bundle and self._packing.needs.workers > 1 and not self._has_driver:
            # Each trial's watching process takes a byte, wherever it lies.
            bundle["memory"] -= self._packing.trials
        return bundle

    @property
    def _has_driver(self) -> bool:
        """Whether some node offers a resource to the watching processes."""
        return self._cluster is None or needs_driver(self._packing.needs, self._packing.nodes)

    @property
    def _drains(self) -> bool:
        """Whether somebody may drain a node; on a Ray of our own nobody does."""
        return self._cluster is not None

    def _group_trainable(self, scratch: Path, sent: SentStore | None) -> type[tune.Trainable]:
        return group_trainable(
            self._function, self._shape, scratch / "train", self._has_driver, self._drains, sent
        )


class _SourceBrokenError(BaseException):
    """Leaves Tune, which would take an Exception for a trial's; the error is in the bridge."""


class _Bridge:
    """The source as Tune's parts see it; all of them are called by one thread."""

    def __init__(
        self,
        source: TrialSource,
        room: int,
        interruption: Interruption,
        lost: LostTrials,
        sizes: GroupSizes,
        limit: StartLimit,
    ) -> None:
        self._source = source
        self._room = room
        self._interruption = interruption
        self._lost = lost
        self._sizes = sizes
        self._limit = limit
        self._live: dict[str, TrialRequest] = {}
        # Whether the source is to be asked: after a None not before a trial has ended.
        self._has_more = True
        self.error: Exception | None = None

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Tune pickles its parts into its scratch folder; what the source holds stays out of it."""
        return object, ()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configuration of a new Tune trial; None: wait; FINISHED: there is no more."""
        if len(self._live) >= self._room:
            return None
        request = self._lost.next() or self._new()
        if request is None:
            # One that runs may be lost and come again, or bring a round; after FINISHED Tune asks
            # no more.
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

    def report(self, trial_id: str, report: EpochReport) -> Decision:
        number = self._live[trial_id].number
        self._lost.reported(number, report.epoch)
        return self._guard(lambda: self._source.on_report(number, report))

    def end(self, trial_id: str) -> None:
        request = self._live.pop(trial_id, None)
        if request is not None:
            self._has_more = True
            self._guard(lambda: self._source.on_end(request.number))

    def fail(self, trial_id: str, cause: FailureCause) -> None:
        """A trial has failed, or was lost and will be suggested again."""
        request = self._live.pop(trial_id, None)
        self._has_more = True
        if request is None:
            return
        workers = self._sizes.of(request.number)
        if self._sizes.shrink(request.number, cause):
            self._lost.put_back(request, cause)
        elif smaller := with_smaller_batches(request, cause, workers):
            self._lost.put_back(smaller, cause)
        elif not self._lost.take_back(request, cause):
            self._guard(lambda: self._source.on_failure(request.number, cause))
            return
        self._guard(lambda: self._source.on_move(request.number, cause))

    def check(self, asked: Mapping[str, float] | None) -> None:
        """Leave Tune if the user wants it, or nothing starts, see `StartLimit.look`."""
        self._interruption.check()
        self._guard(lambda: self._limit.look(asked))

    def _guard(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except Exception as error:
            self.error = error
            raise _SourceBrokenError from error


class _Searcher(Searcher):  # type: ignore[misc]
    """Asks the source for trials and tells it of those that ended."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._bridge.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error:  # else `_Watcher` tells it, with the cause
            self._bridge.end(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study holds it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes rows to the source and its decision to Tune."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        decision = self._bridge.report(trial.trial_id, report_from_json(result["row"]))
        stop = decision is Decision.STOP
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class _Watcher(TrialProgressCallback):  # type: ignore[misc]
    """Hears of failures with their cause, and at every step looks for Ctrl-C and for who waits.

    It takes the place of Tune's own reporter, which prints whatever it is told.
    """

    def __init__(self, bridge: _Bridge, collector: GroupCollector | None) -> None:
        super().__init__()
        self._bridge = bridge
        self._collector = collector

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        self._bridge.check(_waits_for(trials))
        if self._collector is not None:
            self._collector.collect_now_and_then()

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        self._bridge.fail(trial.trial_id, _cause(trial))

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        """Nothing: progress is shown by the source."""

    def _print(self, msg: str) -> None:
        """Nothing, see `log_result`."""


def _waits_for(trials: Sequence[Trial]) -> Mapping[str, float] | None:
    """What a trial asks for that has no place while none runs; None: there is no such trial."""
    waiting = None
    for one in trials:
        if one.status == Trial.RUNNING:
            return None
        if one.status == Trial.PENDING:
            waiting = one
    if waiting is None:
        return None
    asked: Mapping[str, float] = waiting.placement_group_factory.required_resources
    return asked


def _room() -> tuple[Mapping[str, float], Mapping[str, float]]:
    return ray.cluster_resources(), ray.available_resources()


def _cause(trial: Trial) -> FailureCause:
    """Cause that the trial sent, or what Ray knows where its process is gone."""
    path = trial.pickled_error_file  # Tune's own file, in our scratch folder
    if path is None or not Path(path).exists():
        return FailureCause("UnknownError", "Ray knows no cause; see its logs", "")
    error = ray.cloudpickle.loads(Path(path).read_bytes())
    cause = getattr(error, "cause", None)
    if isinstance(cause, TrialFailedError):
        return cause.cause
    return failure_cause(error)


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']}"


def _attempt_name(trial: Trial) -> str:
    """One trial may be several of Tune's, after each other."""
    return f"{_trial_name(trial)}-{trial.trial_id}"


def _trainable(
    function: str, drains: bool, sent: SentStore | None
) -> Callable[[Mapping[str, Any]], None]:
    """A Tune function that runs the trial function of this name.

    Args:
        function: The name.
        drains: Whether its node may be drained.
        sent: The data, where it goes along with the sweep.
    """

    def run(config: Mapping[str, Any], sent: SentStore | None) -> None:
        if drains:
            watch_this_node()
        request = request_from_json(config["request"])
        try:
            load_trial_function(function)(local_request(request, sent), _report)
        except Exception as error:  # noqa: BLE001 - goes to the source with its cause
            raise TrialFailedError.of(error) from None

    trainable: Callable[[Mapping[str, Any]], None] = tune.with_parameters(run, sent=sent)
    return trainable


def _report(report: EpochReport) -> Decision:
    # To stop, Ray raises SystemExit in here.
    tune.report({"row": report_to_json(report)})
    return Decision.CONTINUE
