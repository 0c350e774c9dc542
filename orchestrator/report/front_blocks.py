"""The part of a report about what trials cost: the front, who is crowned, and what is over."""

from collections.abc import Iterator

from orchestrator.base.text import count
from orchestrator.report.document import Block, Figure, Heading, Paragraph, Table
from orchestrator.report.formatting import display_name, last_part, number, short_number
from orchestrator.report.front_figures import front_figure
from orchestrator.report.marks import trial_key
from orchestrator.report.reading import SweepData
from orchestrator.study.front import Front
from orchestrator.study.goals import cost_text
from orchestrator.study.trial import TrialSummary


def front_blocks(data: SweepData, front: Front) -> Iterator[Block]:
    """All blocks, in reading order."""
    yield Heading("What recall costs")
    if text := _standing(data, front):
        yield Paragraph(text)
    if front.goals.limits:
        yield Paragraph(_limits(data, front))
    if front.members:
        yield _table(data, front)
    for cost in front.goals.costs:
        if svg := front_figure(data, front, cost):
            yield Figure(_caption(data, front, cost), svg)


def costs_text(front: Front, trial: TrialSummary) -> str:
    """What a trial costs, in words."""
    costs = front.goals.costs
    return ", ".join(f"{cost_text(trial.costs.get(name))} {display_name(name)}" for name in costs)


def _standing(data: SweepData, front: Front) -> str:
    """The crowned trial, and what the best by the first objective has more, and costs more."""
    crowned = front.crowned
    if crowned is None or not front.reason:
        return ""
    text = f"Trial {crowned.number} is crowned: {front.reason}."
    best = front.members[0] if front.members else crowned
    if best.number == crowned.number:
        return text
    metric = data.spec.objective.metric
    gain = abs((best.value or 0.0) - (crowned.value or 0.0))
    factors = [
        f"{best.costs[name] / crowned.costs[name]:.2g} times the {display_name(name)}"
        for name in list(front.goals.objectives)[1:]
    ]
    return (
        f"{text} Trial {best.number} has the best {metric}, {number(best.value)}, which is better "
        f"by {number(gain)}, at {' and '.join(factors)}."
    )


def _limits(data: SweepData, front: Front) -> str:
    limits = [f"{display_name(name)} at most {cost_text(most)}"
              for name, most in front.goals.limits.items()]  # fmt: skip
    text = f"Limits: {'; '.join(limits)}."
    total = count(len(data.runs), "trial")
    if front.untrained:
        text += (
            f" {len(front.untrained)} of {total} exceed them by their settings and were not "
            "trained."
        )
    if front.exceeding:
        numbers = ", ".join(str(trial.number) for trial in front.exceeding)
        text += f" Trained, but over a measured limit and not crowned: {numbers}."
    return text


def _table(data: SweepData, front: Front) -> Table:
    paths = list(data.spec.space)
    costs = list(front.goals.objectives)[1:]
    more = [name for name in front.goals.limits if name not in costs]
    rows = [
        [
            str(trial.number),
            number(trial.value),
            *(cost_text(trial.costs.get(name)) for name in (*costs, *more)),
            *(short_number(trial.parameters.get(path)) for path in paths),
            ", ".join(front.marks(trial)),
        ]
        for trial in front.members
    ]
    names = (data.spec.objective.metric, *map(display_name, (*costs, *more)))
    return Table(
        "The front: trials that no other one beats in all objectives",
        ("trial", *names, *map(last_part, paths), "mark"),
        rows,
        notes=[
            "The knee is nearest to the best of all objectives at once, each scaled from its best "
            "to its worst on the front. Any of these can become the champion: "
            f"prvr-sweep promote {data.spec.name}/NUMBER."
        ],
        keys=[trial_key(trial.number) for trial in front.members],
    )


def _caption(data: SweepData, front: Front, cost: str) -> str:
    parts = [
        f"{data.spec.objective.metric} against {display_name(cost)}, a point each trial. The line "
        "is the best of complete trials that cost at most so much"
        f"{', within all limits' if front.goals.limits else ''}; the pale one is that after half "
        "of the trials."
    ]
    if front.members:
        parts.append("Ringed: the front.")
    if front.goals.limits:
        parts.append("Pale points exceed a limit; those at the foot were not trained.")
    return " ".join(parts)
