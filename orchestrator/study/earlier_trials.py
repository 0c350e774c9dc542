"""Trials of earlier sweeps that a search's sampler knows from the start.

They are read once, when the search begins, and kept in its study: what is drawn later depends on
nothing outside it. They count for no budget, no table and no winner.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.base.errors import SpecError, SweepNotFoundError
from orchestrator.spec.loading import read_spec
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.goals import Goals
from orchestrator.study.reader import COSTS, StudyReader
from orchestrator.study.samplers import distributions
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState as OurState
from orchestrator.study.trial import TrialSummary

EARLIER = "earlier_trials"
"""Attribute of a study: the trials of earlier sweeps, as JSON."""

_STATES = {OurState.COMPLETE: TrialState.COMPLETE, OurState.PRUNED: TrialState.PRUNED}
# Above every number of the sweep itself.
_FIRST_NUMBER = 1_000_000_000


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial of another sweep.

    Args:
        sweep: Its sweep.
        number: Its number there.
        parameters: Its parameters by path.
        values: Its best objective after each epoch, by epochs completed.
        is_complete: Whether it ran to its end; False: it was pruned.
        costs: What it cost, as far as objectives and limits need it.
    """

    sweep: str
    number: int
    parameters: Mapping[str, Any]
    values: Mapping[int, float]
    is_complete: bool
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Its best objective."""
        return self.values[max(self.values)]

    def to_json(self) -> dict[str, Any]:
        """The trial as an entry of the attribute `EARLIER`."""
        return asdict(self)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "EarlierTrial":
        """The trial that an entry of the attribute describes."""
        values = {int(epoch): value for epoch, value in kept["values"].items()}
        return cls(**{**kept, "values": values})


def earlier_trials(spec: SweepSpec, fingerprint: str, home: Path) -> tuple[EarlierTrial, ...]:
    """Finished trials of the sweeps that `start.from` names, those outside the space left out.

    Raises:
        SpecError: A sweep is missing, or has another objective, other data or another space; all
            reasons at once.
    """
    problems: list[str] = []
    found: list[EarlierTrial] = []
    for name in spec.start.sweeps if spec.start else ():
        try:
            study = StudyReader.open(study_url(home), name)
        except SweepNotFoundError as error:
            problems.append(f"start.from: {error}")
            continue
        reasons = _differences(spec, fingerprint, study)
        problems += [f"start.from: {name} {reason}" for reason in reasons]
        if not reasons:
            found += _known(spec.space, study)
    if problems:
        raise SpecError(problems)
    return tuple(found)


def _differences(spec: SweepSpec, fingerprint: str, study: StudyReader) -> list[str]:
    """Why the values of another sweep's trials say nothing about this one."""
    other = read_spec(study.attributes["spec_yaml"], source=f"sweep {study.name}")
    reasons = []
    for what, ours, theirs in (
        ("objective", spec.objective.metric, other.objective.metric),
        ("direction", spec.objective.direction, other.objective.direction),
        ("data", fingerprint[:12], str(study.attributes.get("data_fingerprint", ""))[:12]),
        ("protocol", spec.protocol, other.protocol),
        ("epochs", spec.max_epochs, other.max_epochs),
    ):
        if ours != theirs:
            reasons.append(f"has {what} {theirs}, this sweep {ours}; allowed: the same")
    for cost in set(Goals.of_spec(spec).costs) - set(study.goals.costs):
        reasons.append(f"did not record {cost}; allowed: a sweep with it as objective or limit")
    for path in spec.space.keys() - other.space.keys():
        reasons.append(f"does not search {path}; allowed: a sweep that searches the same")
    for path in other.space.keys() - spec.space.keys():
        reasons.append(f"searches {path}, this sweep does not; allowed: the same parameters")
    return sorted(reasons)


def _known(space: Mapping[str, Parameter], study: StudyReader) -> Iterable[EarlierTrial]:
    for trial in study.summaries():
        rows = study.rows(trial.number)
        if trial.state not in _STATES or not rows or not _is_inside(space, trial):
            continue
        best = None
        values = {}
        for row in rows:
            if study.is_better(row.objective, best):
                best = row.objective
            assert best is not None, "the first epoch is better than none"
            values[row.epoch] = best
        is_complete = trial.state is OurState.COMPLETE
        yield EarlierTrial(
            study.name, trial.number, trial.parameters, values, is_complete, trial.costs
        )


def _is_inside(space: Mapping[str, Parameter], trial: TrialSummary) -> bool:
    """Whether the trial could be drawn here; confirmations have a parameter more."""
    return all(path in space and space[path].has(value) for path, value in trial.parameters.items())


def frozen_trials(spec: SweepSpec, trials: Sequence[EarlierTrial]) -> list[FrozenTrial]:
    """The trials as a sampler reads them."""
    known = distributions(spec)
    frozen = []
    for number, trial in enumerate(trials, _FIRST_NUMBER):
        made = create_trial(
            state=TrialState.COMPLETE if trial.is_complete else TrialState.PRUNED,
            value=trial.value,
            params=dict(trial.parameters),
            distributions={path: known[path] for path in trial.parameters},
            intermediate_values=dict(trial.values),
            user_attrs={COSTS: dict(trial.costs)},
        )
        made.number = number
        frozen.append(made)
    return frozen
