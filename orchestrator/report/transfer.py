"""Each data set's winner on every data set, as a home keeps it after they were scored."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.report.formatting import NO_NUMBER
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.crossed import Interval
from orchestrator.study.joint_record import kept_transfer

SUM = "SumR"
"""What a cell shows."""


@dataclass(frozen=True)
class TransferCell:
    """A row's model on a data set.

    Args:
        source: The row: a data set whose winner it is, or a form of frozen features.
        target: The data set whose queries it answers.
        recalls: Recalls in percent by name, `SUM` among them; None where it cannot be scored.
        interval: 95 % interval of `SUM` for this model on new videos; None for one video.
        difference: `SUM` minus that of the target's own winner, by query; None of that itself, or
            where it is not known.
        difference_interval: 95 % interval of this difference alone.
        corrected_p: Its p-value, corrected over the matrix.
        verdict: What the difference shows.
        why: Why it cannot be scored; empty where it can.
    """

    source: str
    target: str
    recalls: Mapping[str, float] | None = None
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    corrected_p: float | None = None
    verdict: Verdict = Verdict.NOT_SHOWN
    why: str = ""

    @property
    def value(self) -> float | None:
        """`SUM`; None where it cannot be scored."""
        return self.recalls[SUM] if self.recalls else None

    @classmethod
    def parse(cls, kept: Mapping[str, Any]) -> "TransferCell":
        """From JSON values of its fields."""
        found = cls(**kept)
        intervals = (found.interval, found.difference_interval)
        first, second = (Interval(**each) if isinstance(each, dict) else None for each in intervals)
        return replace(
            found, interval=first, difference_interval=second, verdict=Verdict(found.verdict)
        )


@dataclass(frozen=True)
class Transfer:
    """The matrix.

    Args:
        key: Digest of what it was made from: models and stores.
        models: Model of each row that has one, e.g. `NAME-tvr/3`, by data set.
        splits: Split of each data set that was scored.
        cells: Cells, target by target.
        notes: What a reader of the numbers must know.
    """

    key: str
    models: Mapping[str, str]
    splits: Mapping[str, str]
    cells: tuple[TransferCell, ...]
    notes: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The rows."""
        return tuple(dict.fromkeys(cell.source for cell in self.cells))

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.splits)

    def cell(self, source: str, target: str) -> TransferCell:
        """A cell of the matrix."""
        return next(each for each in self.cells if (each.source, each.target) == (source, target))

    def row_name(self, source: str) -> str:
        """A row as tables call it."""
        return (
            f"{source} (trial {self.models[source].rpartition('/')[2]})"
            if (source in self.models)
            else source
        )


def transfer_of(home: Path, joint: str) -> Transfer | None:
    """The matrix that a home has of a sweep over several data sets; None without one."""
    kept = kept_transfer(home, joint)
    if kept is None:
        return None
    try:
        cells = tuple(map(TransferCell.parse, kept["cells"]))
        return Transfer(**{**kept, "cells": cells, "notes": tuple(kept["notes"])})
    except (KeyError, TypeError, ValueError):
        return None


def cell_text(cell: TransferCell, text: str) -> str:
    """The text of a cell that has a number; of another that it does not fit."""
    return text if cell.recalls else ("does not fit" if cell.why else NO_NUMBER)
