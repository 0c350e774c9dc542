"""A finding of `prvr-sweep doctor`: what was checked, what was found and what to do about it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "problem"]
"""A `problem` keeps sweeps from running or from being seen; a `warning` may."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Args:
        check: What was checked, e.g. `home`.
        level: How serious the finding is.
        message: What was found.
        remedy: What to do; empty for a finding that needs no action.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""

    def lines(self) -> list[str]:
        """The finding as lines for the terminal."""
        shown = [f"{self.level:<8} {self.check:<10} {self.message}"]
        return [*shown, f"{'':<20}do: {self.remedy}"] if self.remedy else shown


def fine(check: str, message: str) -> Finding:
    """Nothing needs to be done."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    """Sweeps run, but something may go wrong later."""
    return Finding(check, "warning", message, remedy)


def problem(check: str, message: str, remedy: str) -> Finding:
    """Sweeps cannot run, or not be seen."""
    return Finding(check, "problem", message, remedy)
