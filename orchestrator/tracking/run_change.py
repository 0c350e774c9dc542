"""Changes of a tracker's runs. This module does not know MLflow."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

RunStatus: TypeAlias = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

# A pruned trial is no error, but MLflow shows KILLED like one; a tag says that it was pruned.
STATUS_OF_STATE: Mapping[str, RunStatus] = {
    "complete": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "finished": "FINISHED",
}


class RunsDeletedError(Exception):
    """Runs were deleted since their writer looked them up; a new writer restores them."""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One value of one metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True)
class RunIdentity:
    """What identifies a run; `trial` is None for the sweep's own run."""

    trial: int | None
    name: str
    start_ms: int


@dataclass(frozen=True)
class DataRecord:
    """The data that a run trains on, as a tracker lists it.

    Args:
        name: Name of the data set.
        fingerprint: Fingerprint of the store's content.
        source: Path or URI of the store; empty if it was generated.
        generated: Settings that it was generated with; None if it was not.
    """

    name: str
    fingerprint: str
    source: str = ""
    generated: Mapping[str, Any] | None = None


@dataclass
class RunChange:
    """Values to add to a run; every field may be sent again without harm."""

    run: RunIdentity
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricRow] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    data: DataRecord | None = None
    models: dict[str, int] = field(default_factory=dict)
    """Ids of the run's models in the registry, and the epoch of each one's weights."""
    status: RunStatus | None = None
    end_ms: int | None = None
    renamed: bool = False
    """Whether the run's name changed since the run was created."""


def prefixed_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Tags as text, each name with the prefix of our tags."""
    return {
        key if key.startswith(("prvr.", "mlflow.")) else f"prvr.{key}": text
        for key, text in as_texts(values).items()
    }


def as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as text, see `as_text`."""
    return {key: as_text(value) for key, value in values.items()}


def as_text(value: Any) -> str:  # noqa: ANN401
    """JSON, which keeps the type readable: true, null, 0.5, [32, 20]; text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value)


def rounded(value: Any) -> Any:  # noqa: ANN401
    """A number with six digits for a table; the runs have every digit."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
