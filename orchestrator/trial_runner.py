"""One trial, wherever it runs: from the request to the train loop, and errors as plain text.

What a trial needs is imported when it runs: the driver sends requests and loads no torch.
"""

import importlib
import json
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.executor import TrialFunction
from orchestrator.trial import FailureCause, TrialRequest
from prvr_model.reporting import EpochReport, Report
from prvr_model.settings import SpeedSettings, parse_settings

TRAIN = "orchestrator.trial_runner:train_trial"
"""The trial function that trains; by name, so that a worker process can import it."""


def train_trial(request: TrialRequest, report: Report) -> None:
    """Train a trial in its folder, from its last checkpoint if there is one."""
    from prvr_model.feature_store import FeatureStore
    from prvr_model.storage import Folder
    from prvr_model.train_loop import train

    store = FeatureStore.open(Path(request.store))
    train(request.settings, store, Folder.open(request.folder), report, request.speed)


def load_trial_function(name: str) -> TrialFunction:
    """The function called `module:function`."""
    module, _, function = name.partition(":")
    loaded: TrialFunction = getattr(importlib.import_module(module), function)
    return loaded


def failure_cause(error: BaseException) -> FailureCause:
    """Class, message and traceback of an error, as text that every process can read."""
    return FailureCause(
        kind=type(error).__name__,
        message=str(error) or type(error).__name__,
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
