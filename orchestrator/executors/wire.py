"""What crosses between the driver and a trial's process: requests, reports and failures as JSON."""

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.executors.retries import OUT_OF_MEMORY, is_out_of_memory, memory_message
from orchestrator.study.trial import FailureCause, TrialRequest
from prvr_model.reporting import EpochReport
from prvr_model.settings import SpeedSettings, parse_settings


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


PLACES = "places"
"""Key of a result that says where a trial's workers run, `places_to_json`."""


@dataclass(frozen=True)
class WorkerPlace:
    """When a worker of a trial began, in milliseconds since 1970, and its node's labels."""

    begun_ms: int
    labels: Mapping[str, str]


def places_to_json(places: Sequence[WorkerPlace]) -> str:
    """Places for another process."""
    return json.dumps([asdict(place) for place in places])


def places_from_json(text: str) -> list[WorkerPlace]:
    """The places of another process."""
    return [WorkerPlace(**fields) for fields in json.loads(text)]


def report_to_json(report: EpochReport) -> str:
    """An epoch's row for another process; numbers keep every bit."""
    return json.dumps({**asdict(report), "metrics": dict(report.metrics)})


def report_from_json(text: str) -> EpochReport:
    """The row of another process."""
    return EpochReport(**json.loads(text))
