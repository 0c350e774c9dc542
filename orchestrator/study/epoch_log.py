"""The epochs of a trial as one attribute of the study, so that one commit writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prvr_model.reporting import Decision

EPOCHS_ATTRIBUTE = "epochs"
"""Attribute of a trial that holds its `EpochLog`."""


@dataclass(frozen=True)
class EpochRow:
    """One epoch of a trial as the study keeps it; `objective` is this epoch's own."""

    epoch: int
    objective: float
    decision: Decision
    timestamp_ms: int


@dataclass(frozen=True)
class EpochLog:
    """A trial's epochs in order, and what the pruner noted of it (the rungs it reached)."""

    rows: tuple[EpochRow, ...]
    notes: Mapping[str, Any]

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "EpochLog":
        """The log among a trial's attributes; empty before its first epoch."""
        stored = attributes.get(EPOCHS_ATTRIBUTE, {"rows": [], "notes": {}})
        rows = tuple(
            EpochRow(epoch, objective, Decision(decision), timestamp_ms)
            for epoch, objective, decision, timestamp_ms in stored["rows"]
        )
        return cls(rows, stored["notes"])

    def row(self, epoch: int) -> EpochRow | None:
        """The row of an epoch, None if it is not recorded."""
        return next((row for row in self.rows if row.epoch == epoch), None)

    def to_json(self) -> dict[str, Any]:
        """The attribute's value."""
        rows = [[r.epoch, r.objective, r.decision.value, r.timestamp_ms] for r in self.rows]
        return {"rows": rows, "notes": dict(self.notes)}
