"""Groups failed trials by cause: messages that differ only in numbers or paths have one cause."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.study.trial import FailureCause, TrialSummary

# In this order: a path may hold numbers, an address may look like a number.
_VARYING = (
    (re.compile(r"\b\w+://[^\s'\",;)]+|(?<![\w.])(?:~|\.{1,2})?/[^\s'\",;:)]+"), "PATH"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"), "ID"),
    (re.compile(r"[-+]?\b\d[\d_]*(?:[.,:]\d+)*(?:[eE][-+]?\d+)?|[-+]?\b(?:nan|inf)\b"), "N"),
)


@dataclass(frozen=True)
class FailureGroup:
    """Failed trials with one cause; message and traceback are the first trial's."""

    kind: str
    message: str
    numbers: tuple[int, ...]
    traceback: str


def grouped_failures(trials: Iterable[TrialSummary]) -> tuple[FailureGroup, ...]:
    """Failures by cause, the most frequent first."""
    groups: dict[tuple[str, str], list[tuple[int, FailureCause]]] = {}
    for trial in trials:
        if trial.cause is not None:
            key = (trial.cause.kind, without_varying(trial.cause.message))
            groups.setdefault(key, []).append((trial.number, trial.cause))
    ordered = sorted(groups.values(), key=lambda failed: -len(failed))
    return tuple(_group(failed) for failed in ordered)


def without_varying(message: str) -> str:
    """A message without what differs from trial to trial: paths, ids and numbers."""
    for pattern, name in _VARYING:
        message = pattern.sub(name, message)
    return message


def _group(failed: list[tuple[int, FailureCause]]) -> FailureGroup:
    first = failed[0][1]
    numbers = tuple(number for number, _ in failed)
    return FailureGroup(first.kind, first.message, numbers, first.traceback)
