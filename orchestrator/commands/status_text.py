"""A sweep as a terminal shows it: its trials by state, rows, confirmation, failures, what to do."""

from collections.abc import Iterable, Sequence

from orchestrator.base.text import command, count, first_line, table_lines
from orchestrator.spec.warnings import PAPER_NOTE
from orchestrator.study.confirmation import Confirmed
from orchestrator.study.failures import FailureGroup
from orchestrator.study.front import Front, shown_counts
from orchestrator.study.goals import cost_text
from orchestrator.study.money import Cost
from orchestrator.study.reader import Direction
from orchestrator.study.trial import TrialState
from orchestrator.sweep.status import RowStatus, SweepStatus
from orchestrator.tracking.run_filters import variant_filters

# The end of a long traceback shows where the error happened.
_SHOWN_LINES = 12
_SHOWN_NUMBERS = 10


def render_status(sweep: SweepStatus) -> str:
    """All that is known about a sweep, and the command that continues it."""
    states = shown_counts(sweep.counts, sweep.front)
    counts = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    to_come = sweep.num_trials - sum(sweep.counts.values())
    lines = [
        f"{sweep.sweep}: {sweep.state}; {counts or 'no trials yet'}"
        + (f", {to_come} to come" if to_come > 0 else ""),
        sweep.question,
        PAPER_NOTE if sweep.protocol == "paper" else "",
        *(row_lines(sweep.rows, sweep.metric) or _best_lines(sweep)),
        *front_lines(sweep.front),
        *confirmation_lines(sweep.confirmed, sweep.direction),
        _taken_line(sweep),
        _moved_line(sweep),
        cost_line(sweep.cost),
        _budget_line(sweep),
        *failure_lines(sweep.failures),
        *filter_lines(sweep.sweep, [row.name for row in sweep.rows]),
        _hint(sweep),
    ]
    return "\n".join(line for line in lines if line)


def row_lines(rows: Sequence[RowStatus], metric: str) -> list[str]:
    """The rows of an ablation as a small table; empty without rows."""
    if not rows:
        return []
    return table_lines([("variant", "runs", "failed", metric, "sd"), *map(_cells, rows)])


def _cells(row: RowStatus) -> tuple[str, ...]:
    numbers = (row.mean, row.standard_deviation)
    shown = ("-" if number is None else f"{number:.2f}" for number in numbers)
    return (row.name, f"{row.complete}/{row.planned}", str(row.failed), *shown)


def _best_lines(sweep: SweepStatus) -> list[str]:
    best = sweep.best or sweep.best_so_far
    if best is None:
        return []
    over = sweep.front.goals.over_limit(best.costs) if sweep.front else None
    wins = sweep.front.reason if sweep.front else ""
    whose = f"trial {best.number}, {best.state}, epoch {best.best_epoch} of {best.epochs}"
    return [
        f"{'crowned' if wins else 'best'} {sweep.metric}: {best.value:.4f} ({whose})"
        + (f"; {wins}" if wins else "")
        + (f"; not crowned: {over}" if over else ""),
        *(f"  {path} = {_short(value)}" for path, value in best.parameters.items()),
    ]


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def front_lines(front: Front | None) -> list[str]:
    """The front of several objectives as a small table, and the trials that exceed a limit."""
    if front is None:
        return []
    return [*_front_table(front), *_limit_lines(front)]


def _front_table(front: Front) -> list[str]:
    if not front.members:
        return []
    names = list(front.goals.objectives)
    rows = [
        (
            str(trial.number),
            f"{trial.value:.2f}",
            *(cost_text(trial.costs.get(name)) for name in names[1:]),
            ", ".join(front.marks(trial)),
        )
        for trial in front.members
    ]
    lines = table_lines([("trial", *names, ""), *rows])
    head = f"front, {count(len(front.members), 'trial')} that no other one beats:"
    return [head, *(f"  {line}".rstrip() for line in lines)]


def _limit_lines(front: Front) -> list[str]:
    """Trials that exceed a limit, apart whether that was known before they were trained."""
    lines = []
    if front.untrained:
        numbers = _listed([trial.number for trial in front.untrained])
        lines.append(
            f"{count(len(front.untrained), 'trial')} not trained, over a limit: {numbers}; "
            f"the first: {front.untrained[0].over_limit}"
        )
    for trial in front.exceeding[:_SHOWN_NUMBERS]:
        over = front.goals.over_limit(trial.costs)
        lines.append(f"trial {trial.number} was trained and is not crowned: {over}")
    more = len(front.exceeding) - _SHOWN_NUMBERS
    return [*lines, *([f"and {count(more, 'more trial')} like that"] if more > 0 else [])]


def _listed(numbers: Sequence[int]) -> str:
    more = ", ..." if len(numbers) > _SHOWN_NUMBERS else ""
    return ", ".join(map(str, numbers[:_SHOWN_NUMBERS])) + more


def confirmation_lines(confirmed: Sequence[Confirmed], direction: Direction) -> list[str]:
    """Configurations that were run again on fresh seeds; empty if there are none.

    Args:
        confirmed: Configurations with fresh runs, the crowned one first.
        direction: Whether larger or smaller values are better.
    """
    if not confirmed:
        return []
    sign = 1 if direction == "maximize" else -1
    first = max(confirmed, key=lambda configuration: sign * (configuration.searched.value or 0.0))
    lines = ["confirmed on fresh seeds; the search chose by its own values, which are optimistic:"]
    for configuration in confirmed:
        marks = [*(["crowned"] if configuration is confirmed[0] else []),
                 *(["best of the search"] if configuration is first else [])]  # fmt: skip
        trial = configuration.searched
        line = f"  trial {trial.number}: {_mean(configuration)}, {trial.value:.4g} in the search"
        lines.append(f"{line}; {' and '.join(marks)}" if marks else line)
    return lines


def _mean(confirmed: Confirmed) -> str:
    spread = confirmed.standard_deviation
    deviation = "" if spread is None else f" ± {spread:.2g}"
    return f"{confirmed.mean:.4g}{deviation} in {count(len(confirmed.runs), 'run')}"


def _taken_line(sweep: SweepStatus) -> str:
    """How many trials were not trained, and where their results come from."""
    origins = [trial.taken_from for trial in sweep.trials if trial.taken_from and trial.is_taken]
    if not origins:
        return ""
    sweeps = sorted({origin.rpartition("/")[0] for origin in origins})
    return f"{len(origins)} not trained; their results are copied from {', '.join(sweeps)}"


def _moved_line(sweep: SweepStatus) -> str:
    """Trials that were evicted and continued."""
    moved = [f"{trial.number} ({trial.moves} times)" for trial in sweep.trials if trial.moves > 1]
    once = [str(trial.number) for trial in sweep.trials if trial.moves == 1]
    listed = ", ".join([*once, *moved])
    return f"evicted, and continued in another slot: trials {listed}" if listed else ""


def cost_line(cost: Cost | None) -> str:
    """What trials cost so far; empty without prices."""
    return f"cost: {cost.text}" if cost else ""


def _budget_line(sweep: SweepStatus) -> str:
    if sweep.over_budget is None:
        return ""
    again = _resume(sweep, budget="KEY=VALUE")
    return f"ended by its budget: {sweep.over_budget}; continue with {again}"


def failure_lines(groups: Sequence[FailureGroup]) -> list[str]:
    """Failures by cause, under a line such as `38 failed: 2 causes`; empty without failures."""
    if not groups:
        return []
    total = sum(len(group.numbers) for group in groups)
    lines = [f"{total} failed: {count(len(groups), 'cause')}"]
    for group in groups:
        cause = f"{group.kind}: {first_line(group.message)}"
        lines.append(f"  {len(group.numbers)} failed ({_listed(group.numbers)}): {cause}")
        frames = group.traceback.strip().splitlines()
        if frames:
            cut = ["..."] if len(frames) > _SHOWN_LINES else []
            lines.append(f"    of trial {group.numbers[0]}:")
            lines += [f"      {line}" for line in [*cut, *frames[-_SHOWN_LINES:]]]
    return lines


def filter_lines(sweep: str, variants: Iterable[str]) -> list[str]:
    """The filters that show the runs of a row in MLflow; empty for a sweep without rows."""
    filters = variant_filters(sweep, variants)
    if not filters:
        return []
    width = max(map(len, filters))
    return [
        "filters for MLflow's search; a row's runs are folded under the sweep's run:",
        *(f"  {name:<{width}}  {text}" for name, text in filters.items()),
    ]


def _hint(sweep: SweepStatus) -> str:
    kept = "trials shown as running keep their last checkpoint"
    if sweep.state == "lost":
        return f"its driver is gone; {kept}; continue: {_resume(sweep)}"
    if sweep.state == "interrupted":
        unfinished = f"; {kept}" if sweep.counts[TrialState.RUNNING] else ""
        return f"interrupted{unfinished}; continue: {_resume(sweep)}"
    return ""


def _resume(sweep: SweepStatus, **options: str) -> str:
    uri = "URI" if sweep.needs_tracking_uri else None
    resume = command("resume", sweep.sweep, home=sweep.home, tracking_uri=uri, **options)
    return f"`{resume}`"
