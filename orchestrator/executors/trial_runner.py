"""One trial, wherever it runs: from the request to the train loop, and errors as plain text.

What a trial needs is imported when it runs: the driver sends requests and loads no torch.
"""

import importlib
import json
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.base.errors import NodeLeavingError
from orchestrator.executors.executor import TrialFunction
from orchestrator.executors.leaving import is_leaving
from orchestrator.executors.memory_cause import OUT_OF_MEMORY, is_out_of_memory, memory_message
from orchestrator.study.trial import FailureCause, TrialRequest
from prvr_model.reporting import EpochReport, Report
from prvr_model.settings import SpeedSettings, parse_settings

if TYPE_CHECKING:
    from prvr_model.process_group import Workers

WorkerFunction: TypeAlias = Callable[[TrialRequest, Report, "Workers"], None]
"""Runs one trial in each of its workers; the first one reports and passes the decision on."""


def train_trial(request: TrialRequest, report: Report, workers: "Workers | None" = None) -> None:
    """Train a trial in its folder, from its last checkpoint if there is one.

    Args:
        request: The trial, with a store on this machine.
        report: Takes each epoch's row; of several workers only the first one's is called.
        workers: The workers that train it together; None: this process alone.

    Raises:
        NodeLeavingError: The node is being drained; a checkpoint of the last step is written.
    """
    from prvr_model.files.folder import Folder
    from prvr_model.process_group import ALONE
    from prvr_model.store.reader import FeatureStore
    from prvr_model.training.train_loop import train

    store = FeatureStore.open(Path(request.store))
    folder = Folder.open(request.folder)
    group = workers or ALONE
    result = train(request.settings, store, folder, report, request.speed, group, is_leaving)
    if result.stop_reason == "left":
        raise NodeLeavingError


def load_trial_function(name: str) -> TrialFunction:
    """The function called `module:function`."""
    loaded: TrialFunction = _load(name)
    return loaded


def run_worker(name: str, request: TrialRequest, report: Report) -> None:
    """Run the function called `module:function` as one worker of this process's group."""
    from prvr_model.process_group import GroupWorkers

    function: WorkerFunction = _load(name)
    function(request, report, GroupWorkers())


def _load(name: str) -> Any:  # noqa: ANN401
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


class TrialFailedError(Exception):
    """An error of a trial as JSON of its cause: many errors do not survive pickling."""

    @classmethod
    def of(cls, error: BaseException) -> "TrialFailedError":
        """The error that another process will see in place of this one."""
        return cls(json.dumps(asdict(failure_cause(error))))

    @property
    def cause(self) -> FailureCause:
        """What the trial raised."""
        return FailureCause(**json.loads(self.args[0]))


def failure_cause(error: BaseException) -> FailureCause:
    """Class, message and traceback of an error, as text that every process can read."""
    no_memory = is_out_of_memory(error)
    return FailureCause(
        kind=OUT_OF_MEMORY if no_memory else type(error).__name__,
        message=memory_message(error) if no_memory else str(error) or type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
    )


def request_to_json(request: TrialRequest) -> str:
    """A request for another process."""
    fields: dict[str, Any] = {key: getattr(request, key) for key in request.__dataclass_fields__}
    fields["settings"] = request.settings.model_dump(mode="json")
    fields["speed"] = request.speed.model_dump(mode="json")
    return json.dumps(fields, allow_nan=False)


def request_from_json(text: str) -> TrialRequest:
    """The request of another process."""
    fields = json.loads(text)
    fields["settings"] = parse_settings(fields["settings"])
    fields["speed"] = SpeedSettings.model_validate(fields["speed"])
    return TrialRequest(**fields)


def report_to_json(report: EpochReport) -> str:
    """An epoch's row for another process; numbers keep every bit."""
    return json.dumps({**asdict(report), "metrics": dict(report.metrics)})


def report_from_json(text: str) -> EpochReport:
    """The row of another process."""
    return EpochReport(**json.loads(text))
