"""Runs trials of several workers: each is a Tune trial that hosts one worker group of Ray Train.

`GroupTrial` is a Tune class, not a function: its `cleanup` completes before the process ends, and a
stop reaches the workers while `fit` blocks a thread. The first worker's rows come through a
mailbox; the workers continue when the next row is asked for.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.cluster.capacity import DRIVER_RESOURCE, DRIVER_SHARE
from orchestrator.executors.group_trainer import (
    START_TRIES,
    GroupJob,
    GroupShape,
    GroupTrainer,
    root_cause,
)
from orchestrator.executors.mailbox import Mailbox
from orchestrator.executors.ray_state import free_groups_of, free_orphaned_groups
from orchestrator.executors.sent_store import SentStore
from orchestrator.executors.wire import (
    PLACES,
    TrialFailedError,
    WorkerPlace,
    places_to_json,
)

__all__ = ["GROUP_START_LIMIT_S", "GroupCollector", "GroupShape", "group_trainable"]

GROUP_START_LIMIT_S = 300.0
"""Time in which a trial's workers must find slots; an autoscaler takes minutes."""

# Workers that are told to stop return between two epochs, which takes a second. Tune kills the
# last trials' processes after 10 s.
_SOFT_STOP_S = 7.0
# Processes import torch and form their group, on a busy machine, after Train's own limit.
_START_SLACK_S = 120.0
# The mailbox and Ray answer within milliseconds, unless their process is gone.
_CALL_LIMIT_S = 5.0
# Interval at which Train checks whether workers have ended; its default is 2 s.
_LOOK_INTERVAL_S = 0.2
# Cheap, since it reads a table of a few groups; frees only what a killed process left behind.
_COLLECT_INTERVAL_S = 5.0
# Ray refuses an empty request; every node has a byte of memory.
_ALMOST_NOTHING = {"memory": 1}


def group_trainable(
    function: str,
    shape: GroupShape,
    scratch: Path,
    has_driver_resource: bool = True,
    drains: bool = False,
    sent: SentStore | None = None,
) -> type[tune.Trainable]:
    """A Tune trainable whose trials run in groups of workers; Ray must run already.

    Args:
        function: Name of the function that each worker runs.
        shape: The workers of a trial.
        scratch: Folder for Train's files, absolute.
        has_driver_resource: Whether some node offers `train_driver` to the watching processes.
        drains: Whether a node may be drained.
        sent: The data, if it travels with the sweep.
    """
    trainable = tune.with_parameters(
        GroupTrial,
        job=GroupJob("", "", function, shape, scratch, _start_mailbox(), drains, sent),
    )
    # Tune reserves resources of the watching process only; Train reserves those of the workers.
    watched: type[tune.Trainable] = tune.with_resources(
        trainable, {DRIVER_RESOURCE: DRIVER_SHARE} if has_driver_resource else _ALMOST_NOTHING
    )
    return watched


def _start_mailbox() -> Any:  # noqa: ANN401
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(**options)(Mailbox).options(scheduling_strategy=here).remote()


class GroupTrial(tune.Trainable):  # type: ignore[misc]
    """One trial; each step returns an epoch's row, the first one where the workers run."""

    def setup(self, config: dict[str, Any], job: GroupJob) -> None:
        """Start the group of one trial; `job` holds what is the same for all trials."""
        # An evicted trial may continue with fewer workers than `job.shape` has.
        shape = replace(job.shape, workers=config["workers"])
        os.environ.update(_train_variables(shape))
        # With the id of this try: messages of a lost process must not reach the next try.
        key = f"trial-{config['number']}-{self.trial_id}"
        self._run = _GroupRun(replace(job, key=key, request=config["request"], shape=shape))

    def step(self) -> dict[str, Any]:
        if not self._run.places and (places := self._run.new_places()):
            return {PLACES: places_to_json(places)}
        row = self._run.next_row()
        if row is None:
            return {"done": True}
        # Train may have restarted the workers, perhaps elsewhere.
        places = self._run.new_places()
        return {"row": row, **({PLACES: places_to_json(places)} if places else {})}

    def cleanup(self) -> None:
        self._run.end()


class _GroupRun:
    """A running group: `fit` has its own thread, rows come through the mailbox."""

    def __init__(self, job: GroupJob) -> None:
        self._job = job
        self._mailbox = job.mailbox
        self._error: BaseException | None = None
        self._thread = Thread(target=self._fit, name="fit", daemon=True)
        self._thread.start()
        self._had_slot: bool | None = None
        self.places: list[WorkerPlace] = []

    def next_row(self) -> str | None:
        """Let the workers continue and wait for a row; None: they have returned.

        Raises:
            TrialFailedError: The trial failed, lost workers too often, or they never started.
        """
        self._wait_for_begin()
        row: str | None = ray.get(self._mailbox.next_row.remote(self._job.key))
        if row is None and self._error is not None:
            cause = root_cause(self._error, self._job.shape, bool(self._had_slot))
            raise cause if isinstance(cause, TrialFailedError) else TrialFailedError.of(cause)
        return row

    def new_places(self) -> list[WorkerPlace]:
        """Where the workers run, once after each of their starts; else empty."""
        self._wait_for_begin()
        found: list[WorkerPlace] = ray.get(self._mailbox.places.remote(self._job.key))
        if found == self.places:
            return []
        self.places = found
        return found

    def _wait_for_begin(self) -> None:
        """Wait for the workers; Train limits the wait for slots, but not a start that hangs."""
        if self._had_slot is not None:
            return
        limit_s = self._job.shape.start_limit_s + _START_SLACK_S
        try:
            begun = self._mailbox.has_begun.remote(self._job.key)
            self._had_slot = ray.get(begun, timeout=limit_s)
        except GetTimeoutError:
            raise TrialFailedError.of(self._job.shape.no_slot()) from None

    def end(self) -> None:
        """End the workers and free their slots, within seconds."""
        if self._thread.is_alive():
            self._call(self._mailbox.stop.remote(self._job.key))
            self._thread.join(_SOFT_STOP_S)
        self._end_controller()
        self._call(self._mailbox.forget.remote(self._job.key))

    def _fit(self) -> None:
        try:
            GroupTrainer(self._job).fit()
        except BaseException as error:  # noqa: BLE001 - raised by `next_row`
            self._error = error
        finally:
            self._call(self._mailbox.close.remote(self._job.key))

    def _end_controller(self) -> None:
        controller = self._call(self._mailbox.controller.remote(self._job.key))
        if controller is not None:
            # This ends its workers too, but does not free the group that it reserved.
            ray.kill(controller)
            free_groups_of(controller._actor_id.hex())

    @staticmethod
    def _call(answer: Any) -> Any:  # noqa: ANN401
        try:
            return ray.get(answer, timeout=_CALL_LIMIT_S)
        except RayError:
            return None  # the driver frees what is left, see `GroupCollector`


class GroupCollector:
    """Frees, from the driver, what trials could not free because their process was killed."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def collect_now_and_then(self) -> None:
        """Collect, unless that was just done."""
        if time.monotonic() - self._last_s >= _COLLECT_INTERVAL_S:
            self.collect()

    def collect(self) -> None:
        """Collect now."""
        free_orphaned_groups()
        self._last_s = time.monotonic()


def _train_variables(shape: GroupShape) -> dict[str, str]:
    """Environment of a trial's process; Train passes it on to the processes that it starts."""
    return {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(_LOOK_INTERVAL_S),
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(shape.start_limit_s / START_TRIES),
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
        "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    }
