"""A version's tags and description, and when a version may replace the champion.

The alias `champion` moves by itself only on a fair comparison: a better value of the same metric
under the same protocol on the same data. Everything else waits as `candidate` for a person to
promote.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from orchestrator.study.test_scores import NO_TEST_SPLIT
from orchestrator.tracking.tags import (
    DIRECTION_TAG,
    FINGERPRINT_TAG,
    KEY_TAG,
    METRIC_TAG,
    SWEEP_ID_TAG,
    SWEEP_TAG,
    TEST_TAG,
    TRIAL_TAG,
    VALUE_TAG,
    VERSION_PROTOCOL_TAG,
)

Alias: TypeAlias = Literal["champion", "candidate"]
CHAMPION: Alias = "champion"
CANDIDATE: Alias = "candidate"

_COMPARED_TAGS = {
    METRIC_TAG: "metric",
    DIRECTION_TAG: "direction",
    VERSION_PROTOCOL_TAG: "protocol",
    FINGERPRINT_TAG: "data",
}
_NO_TEST = "none"
# As much as MLflow's database takes.
_LONGEST_DESCRIPTION = 5000


@dataclass(frozen=True)
class SweepOrigin:
    """Where versions come from, and what makes their values comparable.

    Args:
        sweep: Name of the sweep.
        sweep_id: Identity of its outbox, which its runs carry.
        data_set: Name of the data; names model and experiment.
        data_fingerprint: Fingerprint of the data's content.
        metric: Objective, e.g. `val/SumR`.
        direction: `maximize` or `minimize`.
        protocol: Which split selected epochs and trials, see `SweepSpec.protocol`.
    """

    sweep: str
    sweep_id: str
    data_set: str
    data_fingerprint: str
    metric: str
    direction: Literal["maximize", "minimize"]
    protocol: str


@dataclass(frozen=True)
class VersionCandidate:
    """A complete trial to be registered.

    Args:
        number: Its number.
        key: Its content key.
        value: Its objective.
        epoch: Epoch of the weights.
        export: Folder that `checkpoint.export_model` wrote.
        test: Metrics on the test split; None if the trial was not scored on it.
        untested: Why the trial was not scored on test.
        moments: How windows meet the moments of test, percentages by name.
        card: Its data, features, numbers and limits in Markdown.
    """

    number: int
    key: str
    value: float
    epoch: int
    export: Path
    test: Mapping[str, float] | None
    untested: str = NO_TEST_SPLIT
    moments: Mapping[str, float] = field(default_factory=dict)
    card: str = ""

    @property
    def tracked(self) -> dict[str, float]:
        """Numbers on test by the names that its run shows."""
        found = {f"test/{name}": value for name, value in (self.test or {}).items()}
        return found | {f"test/moments/{name}": value for name, value in self.moments.items()}


class Version(Protocol):
    """A version as MLflow has it."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def version(self) -> str | int:
        """Number: from a database, or as text from a server."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags, see `version_tags`."""

    @property
    def description(self) -> str | None:
        """Description, see `version_description`."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a model.

    Args:
        model: Name of the model.
        version: Its version.
        trial: Number of the trial.
        value: The trial's value.
        alias: The version's alias now; None if other versions have the aliases.
        reason: Why it has this alias or none, in a sentence.
        epoch: Epoch of the weights.
        model_id: MLflow's id of the model, by which runs are linked with it; empty: not known.
        metrics: Its numbers on test for its trial's run.
    """

    model: str
    version: str
    trial: int
    value: float
    alias: Alias | None
    reason: str
    epoch: int = 0
    model_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """What links the version with its trial's run, as JSON values."""
        return {
            "number": self.trial,
            "model": self.model,
            "version": self.version,
            "model_id": self.model_id,
            "epoch": self.epoch,
            "metrics": dict(self.metrics),
        }

    @property
    def uri(self) -> str:
        """Address for `mlflow.pyfunc.load_model`."""
        return f"models:/{self.model}/{self.version}"


@dataclass(frozen=True)
class Promotion:
    """What a promotion did; `replaced` is the former champion's version, None if there was none."""

    model: str
    version: str
    replaced: str | None
    description: str
    replaced_description: str | None


def version_tags(origin: SweepOrigin, candidate: VersionCandidate) -> dict[str, str]:
    """Tags of a version: where it comes from, and with what its value can be compared."""
    test = _NO_TEST if candidate.test is None else json.dumps(_fused(candidate.test))
    return {
        SWEEP_TAG: origin.sweep,
        SWEEP_ID_TAG: origin.sweep_id,
        TRIAL_TAG: str(candidate.number),
        KEY_TAG: candidate.key,
        VALUE_TAG: repr(candidate.value),
        METRIC_TAG: origin.metric,
        DIRECTION_TAG: origin.direction,
        VERSION_PROTOCOL_TAG: origin.protocol,
        FINGERPRINT_TAG: origin.data_fingerprint,
        TEST_TAG: test,
    }


def version_description(origin: SweepOrigin, candidate: VersionCandidate) -> str:
    """A version in a sentence, and below it its card."""
    parts = (_summary(origin, candidate), candidate.card)
    return "\n\n".join(filter(None, parts))[:_LONGEST_DESCRIPTION]


def summary_of(version: "Version") -> str:
    """The sentence with which a version's description begins."""
    return (version.description or "").partition("\n")[0]


def _summary(origin: SweepOrigin, candidate: VersionCandidate) -> str:
    text = (
        f"Trial {candidate.number} of sweep {origin.sweep}: {origin.metric} "
        f"{candidate.value:.2f} after {candidate.epoch} epochs"
    )
    if candidate.test is None:
        return f"{text}; {candidate.untested}."
    scores = ", ".join(f"{name} {value:.2f}" for name, value in _fused(candidate.test).items())
    return f"{text}; on test {scores}."


def _fused(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the fused scores, which are what a query is answered with."""
    return {name: value for name, value in metrics.items() if "/" not in name}


def compare_with_champion(version: Version, champion: Version, promote: str) -> tuple[Alias, str]:
    """The alias of a version beside the champion, and why, in a sentence."""
    unlike = _unlike(version, champion)
    name = f"version {champion.version}"
    if unlike:
        return CANDIDATE, (
            f"the champion, {name}, has another {' and '.join(unlike)}, so values cannot be "
            f"compared; `{promote}` makes this one the champion"
        )
    here, there = float(version.tags[VALUE_TAG]), float(champion.tags[VALUE_TAG])
    metric = version.tags[METRIC_TAG]
    if _is_better(version, champion):
        return CHAMPION, f"{metric} {here:.2f} is better than {there:.2f} of {name}"
    return CANDIDATE, f"{metric} {here:.2f} is not better than {there:.2f} of {name}, the champion"


def _unlike(version: Version, champion: Version) -> list[str]:
    """What differs, so that values cannot be compared; a missing value counts as another metric."""
    unlike = [
        word
        for tag, word in _COMPARED_TAGS.items()
        if version.tags.get(tag) != champion.tags.get(tag)
    ]
    if VALUE_TAG not in champion.tags and "metric" not in unlike:
        unlike.append("metric")
    return unlike


def _is_better(version: Version, champion: Version) -> bool:
    here, there = float(version.tags[VALUE_TAG]), float(champion.tags[VALUE_TAG])
    return here < there if version.tags[DIRECTION_TAG] == "minimize" else here > there
