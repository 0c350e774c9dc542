"""The workers of one trial under Ray Train: what each of them runs, and which errors restart them.

Train starts the processes, joins them in a process group (NCCL on GPUs, gloo on CPUs) and restarts
all of them when one is lost; the train loop continues from its checkpoint. An error of the trial
itself would only recur, so it ends the trial.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.collective import barrier
from ray.train.torch import TorchTrainer

from orchestrator.base.errors import (
    NodeLeavingError,
    NoSlotError,
    RayChangedError,
    SlotLostError,
)
from orchestrator.base.text import in_words
from orchestrator.executors.ray_state import this_place, watch_this_node
from orchestrator.executors.sent_store import SentStore
from orchestrator.executors.trial_runner import local_request, run_worker
from orchestrator.executors.wire import TrialFailedError, report_to_json, request_from_json
from prvr_model.reporting import Decision, EpochReport, Report

try:
    from ray.train.v2._internal.callbacks.placement_group_callback import (
        PlacementGroupCleanerCallback,
    )
    from ray.train.v2._internal.exceptions import (
        WorkerGroupStartupTimeoutError,
        WorkerHealthCheckFailedError,
    )
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.failure_handling import FailureDecision
    from ray.train.v2._internal.execution.failure_handling.default import DefaultFailurePolicy
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    # Overridden below; if Train renamed it, the override would silently do nothing.
    DataParallelTrainer._initialize_and_run_controller  # noqa: B018
except (ImportError, AttributeError) as error:
    raise RayChangedError(str(error)) from error

START_TRIES = 2
"""Tries to start the workers; a node may be lost while they start."""

# How often lost workers are restarted. On a machine that always kills them, the trial must end.
_MAX_RESTARTS = 3
# A worker that lost its peer sees a broken connection at once; Ray needs a moment to see the loss.
_LOSS_IS_SEEN_S = 3.0
# How long a worker waits for a peer. Nothing between two exchanges takes so long; the first one
# comes after all workers have the data.
_EXCHANGE_LIMIT_S = 1800


@dataclass(frozen=True)
class GroupShape:
    """The workers of a trial.

    Args:
        workers: Number of workers.
        bundle: Resources of each worker by Ray's names, see `Packing.bundle`.
        start_limit_s: Seconds in which they must find slots; else the trial fails.
    """

    workers: int
    bundle: Mapping[str, float]
    start_limit_s: float

    def no_slot(self, had_slot: bool = False) -> NoSlotError:
        """The error of workers that did not start, or restart after a loss, in time."""
        error = SlotLostError if had_slot else NoSlotError
        return error(self.workers, in_words(self.bundle), self.start_limit_s)


@dataclass(frozen=True)
class GroupJob:
    """One trial for a group of workers.

    Args:
        key: Key of the trial in the mailbox.
        request: The trial as JSON.
        function: Name of the function that each worker runs.
        shape: The workers.
        scratch: Folder for Train's files.
        mailbox: Actor handle of a `Mailbox`.
        drains: Whether the workers' nodes may be drained.
        sent: The data, if it travels with the sweep.
    """

    key: str
    request: str
    function: str
    shape: GroupShape
    scratch: Path
    mailbox: Any
    drains: bool = False
    sent: SentStore | None = None


class GroupTrainer(TorchTrainer):  # type: ignore[misc]
    """Train's trainer for one trial; `fit` returns when all workers have returned.

    Raises (by `fit`):
        TrainingFailedError: The trial failed, lost workers too often, or they found no slots.
    """

    def __init__(self, job: GroupJob) -> None:
        super().__init__(
            _work,
            train_loop_config={
                "key": job.key,
                "request": job.request,
                "function": job.function,
                "mailbox": job.mailbox,
                "drains": job.drains,
                "sent": job.sent,
            },
            scaling_config=ScalingConfig(
                num_workers=job.shape.workers,
                use_gpu="GPU" in job.shape.bundle,
                resources_per_worker=dict(job.shape.bundle),
            ),
            torch_config=ray.train.torch.TorchConfig(timeout_s=_EXCHANGE_LIMIT_S),
            run_config=RunConfig(
                name=job.key,
                storage_path=str(job.scratch),
                # Train's default is to try a start for ever.
                failure_config=FailureConfig(
                    max_failures=_MAX_RESTARTS, controller_failure_limit=START_TRIES - 1
                ),
                callbacks=[_Introduction(job.key, job.mailbox)],
            ),
        )

    def _initialize_and_run_controller(self, **parts: Any) -> Any:  # noqa: ANN401
        # Train's cleaner is one more process for each trial, and at the end waits for the
        # dashboard, which is off. `group_host` frees the group instead.
        parts["callbacks"] = [
            part
            for part in parts["callbacks"]
            if not isinstance(part, PlacementGroupCleanerCallback)
        ]
        parts["failure_policy"] = _FailurePolicy(self.run_config.failure_config)
        return super()._initialize_and_run_controller(**parts)


class _Introduction(ControllerCallback):  # type: ignore[misc]
    """Gives the host the handle of the controller, which Train does not expose."""

    def __init__(self, key: str, mailbox: Any) -> None:  # noqa: ANN401
        self._key = key
        self._mailbox = mailbox

    def after_controller_start(self, train_run_context: object) -> None:
        controller = ray.get_runtime_context().current_actor
        ray.get(self._mailbox.introduce.remote(self._key, controller))


class _FailurePolicy(DefaultFailurePolicy):  # type: ignore[misc]
    """Restarts workers that were lost or left their node, but not a trial that failed."""

    def make_decision(self, training_failed_error: Exception) -> FailureDecision:
        failures = getattr(training_failed_error, "worker_failures", {}).values()
        # If a worker is lost, the errors of the others are only consequences.
        if failures and all(isinstance(failure, TrialFailedError) for failure in failures):
            left = any(failure.cause.kind == NodeLeavingError.__name__ for failure in failures)
            return FailureDecision.RETRY if left else FailureDecision.RAISE
        return super().make_decision(training_failed_error)


def root_cause(error: BaseException, shape: GroupShape, had_slot: bool) -> BaseException:
    """What made a group fail: a lost worker, the trial's own error, or no slots.

    Args:
        error: What `GroupTrainer.fit` raised.
        shape: The workers.
        had_slot: Whether they had started before.
    """
    inner: BaseException = getattr(error, "controller_failure", error)
    if isinstance(inner, WorkerGroupStartupTimeoutError):
        return shape.no_slot(had_slot)
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    in_order = [failures[rank] for rank in sorted(failures)]
    lost = [failure for failure in in_order if isinstance(failure, WorkerHealthCheckFailedError)]
    if lost:
        first: BaseException = lost[0].health_check_failure
        return first
    return in_order[0] if in_order else inner


def _work(config: Mapping[str, Any]) -> None:
    """What each worker runs."""
    request = request_from_json(config["request"])
    if config["drains"]:
        watch_this_node()
    # Here the process group is complete.
    ray.get(config["mailbox"].begin.remote(config["key"], this_place(), *_rank()))
    try:
        request = local_request(request, config["sent"])
        # This barrier has no time limit: a copy may take longer than an exchange may.
        barrier()
        run_worker(config["function"], request, _reporter(config["key"], config["mailbox"]))
    except Exception as error:  # noqa: BLE001 - goes to the host with its cause
        if isinstance(error, RuntimeError):  # as torch raises it for a broken connection
            time.sleep(_LOSS_IS_SEEN_S)
        raise TrialFailedError.of(error) from None


def _rank() -> tuple[int, int]:
    """Number of this worker, and of all."""
    context = ray.train.get_context()
    return context.get_world_rank(), context.get_world_size()


def _reporter(key: str, mailbox: Any) -> Report:  # noqa: ANN401
    def report(row: EpochReport) -> Decision:
        return Decision(ray.get(mailbox.report.remote(key, report_to_json(row))))

    return report
