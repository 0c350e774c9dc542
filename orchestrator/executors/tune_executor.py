"""Runs trials on Ray Tune, in reused actors or in groups of workers, on our own Ray or another.

Tune hands out processes and carries rows; it decides nothing. Its searcher and scheduler only ask
the source, its own state is scratch, and its output is turned off.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from orchestrator.base import cgroups
from orchestrator.base.errors import RayFailedError
from orchestrator.base.holdings import Holding, held_by_others, holding
from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.base.text import error_line
from orchestrator.cluster.capacity import (
    COMING_LIMIT_S,
    MemoryNeed,
    Node,
    RunningCluster,
    TrialNeeds,
    free_gpus,
    needs_driver,
)
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.executors.executor import TrialSource
from orchestrator.executors.group_host import (
    GROUP_START_LIMIT_S,
    GroupCollector,
    GroupShape,
    group_trainable,
)
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.ray_session import attached_ray, keep_logs, own_ray
from orchestrator.executors.ray_state import free_slots, this_place, watch_this_node
from orchestrator.executors.retries import MAX_EVICTIONS, EvictedTrials, GroupSizes
from orchestrator.executors.sent_store import SentStore, send_store
from orchestrator.executors.start_limit import StartLimit
from orchestrator.executors.trial_runner import load_trial_function, local_request
from orchestrator.executors.tune_bridge import (
    Bridge,
    SourceBrokenError,
    TrialErrors,
    TuneScheduler,
    TuneSearcher,
    Watcher,
    ray_room,
)
from orchestrator.executors.wire import (
    PLACES,
    TrialFailedError,
    places_to_json,
    report_to_json,
    request_from_json,
)
from prvr_model.errors import PrvrError
from prvr_model.reporting import Decision, EpochReport


@dataclass(frozen=True)
class TrialSlot:
    """What a trial occupies.

    Args:
        cpus: CPUs of each worker.
        gpus: GPUs of each worker; a fraction lets trials of one worker share one.
        threads: Threads of a worker's numerical libraries.
        workers: Workers that train one trial together.
        min_workers: The fewest workers with which a trial continues; None: `workers`.
        memory: Memory of a worker; None: not known.
        sweep: Name of the sweep, shown to other sweeps on this machine.
    """

    cpus: int = 1
    gpus: float = 0.0
    threads: int = 1
    workers: int = 1
    min_workers: int | None = None
    memory: MemoryNeed | None = None
    sweep: str = ""


class TuneExecutor:
    """Runs trials in worker processes, on this machine or on a running cluster.

    Args:
        slot: What each trial occupies.
        function: Trial function by name; workers import it. With several workers it takes them
            as its third argument.
        cluster: Where trials run; None: on a Ray of our own on this machine.
        start_limit_s: Seconds in which the workers of a trial must find a slot; else it fails.
            Where trials wait so long and none runs, the sweep ends.
        max_evictions: Evictions that a trial may have between two epochs that it completes; it
            restarts from its checkpoint after each, and one more fails it.
        logs: Where the ends of the logs of our own Ray are kept where they are needed to find out
            why it failed; None: nowhere.

    Raises:
        SpecError: No trial fits there.
    """

    def __init__(
        self,
        slot: TrialSlot,
        function: str = TRAIN_TRIAL,
        cluster: RunningCluster | None = None,
        start_limit_s: float | None = None,
        max_evictions: int = MAX_EVICTIONS,
        logs: Path | None = None,
    ) -> None:
        self._logs = logs
        self._min_workers = slot.min_workers or slot.workers
        self._max_evictions = max_evictions
        growing = cluster is not None and cluster.is_growing
        limit_s = start_limit_s or (COMING_LIMIT_S if growing else GROUP_START_LIMIT_S)
        self._slot = slot
        self._function = function
        needs = TrialNeeds(slot.workers, slot.cpus, slot.gpus, slot.memory)
        self._cluster = cluster
        self._packing = pack_or_refuse(needs, cluster.nodes if cluster else [Node.here()])
        self._shape = GroupShape(slot.workers, self._bundle(), limit_s)

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        """Run all trials, see `Executor.run`.

        Raises:
            NothingStartsError: Trials wait for a slot and none runs.
            RayFailedError: Ray does not start, or fails.
        """
        at_once = min(concurrency or self._packing.trials, self._packing.trials)
        evicted = EvictedTrials(self._max_evictions)
        shape = self._shape
        sizes = GroupSizes(shape.workers, self._min_workers, lambda: free_slots(shape.bundle))
        limit = StartLimit(shape.start_limit_s, ray_room, source.on_wait)
        bridge = Bridge(source, at_once, interruption, evicted, sizes, limit)
        with self._ray(at_once, interruption) as scratch:
            try:
                self._fit(bridge, scratch)
            except SourceBrokenError:
                assert bridge.error is not None
                raise bridge.error from None
            except PrvrError:
                raise
            except Exception as error:
                found = f"Ray failed while trials ran: {error_line(error)}"
                raise RayFailedError(f"{found}{self._keep_logs(scratch)}") from error
        interruption.check()

    @contextmanager
    def _ray(self, at_once: int, interruption: Interruption) -> Iterator[Path]:
        """The Ray that runs the trials; other sweeps on this machine see what ours holds."""
        threads = self._slot.threads
        if self._cluster is not None:
            with attached_ray(self._cluster.address, threads, interruption) as scratch:
                yield scratch
            return
        needs, workers = self._packing.needs, at_once * self._packing.needs.workers
        gpus = free_gpus(held_by_others())[: math.ceil(workers * needs.gpus)]
        held = Holding(
            sweep=self._slot.sweep,
            pid=os.getpid(),
            cpus=workers * needs.cpus,
            memory_bytes=workers * needs.memory.total_bytes if needs.memory else 0,
            gpus=tuple(gpu.identity for gpu in gpus),
        )
        with holding(held), own_ray(threads, gpus, interruption, self._logs) as scratch:
            yield scratch

    def _keep_logs(self, scratch: Path) -> str:
        """Keep the logs of our own Ray; those of a running cluster stay where they are."""
        return keep_logs(scratch, self._logs if self._cluster is None else None)

    def _fit(self, bridge: "Bridge", scratch: Path) -> None:
        several = self._shape.workers > 1
        collector = GroupCollector()
        # The kernel of this machine says nothing about the nodes of a cluster.
        oom_kills = cgroups.oom_kills if self._cluster is None else int
        errors = TrialErrors(oom_kills, lambda: self._keep_logs(scratch))
        # Held here until the end: Ray frees pieces to which no reference is left.
        sent = self._sent_store()
        tuner = tune.Tuner(
            self._group_trainable(scratch, sent) if several else self._alone(sent),
            tune_config=tune.TuneConfig(
                search_alg=TuneSearcher(bridge),
                scheduler=TuneScheduler(bridge),
                num_samples=-1,  # the searcher ends the run
                reuse_actors=not several,  # an idle actor would keep its last group waiting
                trial_name_creator=_trial_name,
                trial_dirname_creator=_attempt_name,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch / "tune"),
                verbose=0,
                # A trial's folder is its checkpoint; Tune would ask for another one.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[Watcher(bridge, errors, collector if several else None)],
            ),
        )
        with errors.noted():
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
            # Nothing else runs on our own Ray, and Ray counts memory differently.
            bundle.pop("memory", None)
        elif "memory" in bundle and self._packing.needs.workers > 1 and not self._has_driver:
            # Each trial's watching process takes a byte, on whatever node.
            bundle["memory"] -= self._packing.trials
        return bundle

    @property
    def _has_driver(self) -> bool:
        """Whether some node offers a resource to the watching processes."""
        return self._cluster is None or needs_driver(self._packing.needs, self._packing.nodes)

    @property
    def _drains(self) -> bool:
        """Whether a node may be drained; nodes of our own Ray never are."""
        return self._cluster is not None

    def _group_trainable(self, scratch: Path, sent: SentStore | None) -> type[tune.Trainable]:
        return group_trainable(
            self._function, self._shape, scratch / "train", self._has_driver, self._drains, sent
        )


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']}"


def _attempt_name(trial: Trial) -> str:
    """A name for each try: one trial may be several Tune trials, one after the other."""
    return f"{_trial_name(trial)}-{trial.trial_id}"


def _trainable(
    function: str, drains: bool, sent: SentStore | None
) -> Callable[[Mapping[str, Any]], None]:
    """A Tune function that runs the trial function of this name.

    Args:
        function: The name.
        drains: Whether its node may be drained.
        sent: The data, if it travels with the sweep.
    """

    def run(config: Mapping[str, Any], sent: SentStore | None) -> None:
        tune.report({PLACES: places_to_json([this_place()])})
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
    # To stop the trial, Ray raises SystemExit in this call.
    tune.report({"row": report_to_json(report)})
    return Decision.CONTINUE
