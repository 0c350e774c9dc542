"""The tables of an ablation: recalls, differences with verdicts, cost, collapse."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Protocol

from orchestrator.report.document import Align, Block, Table
from orchestrator.report.findings import AblationFinding, Findings, RowFinding, spread
from orchestrator.report.formatting import (
    COLLAPSE_METRICS,
    NO_NUMBER,
    RECALL_HEADS,
    RECALLS,
    display_name,
    hours,
    interval_text,
    millions,
    number,
    p_cell,
    signed,
    with_spread,
)
from orchestrator.report.marks import row_key
from orchestrator.report.reading import SweepData
from orchestrator.report.relevance_blocks import (
    group_of,
    group_tables,
    metrics_of_rows,
    what_is_right,
)
from orchestrator.report.yardstick import FROZEN_NOTE, Yardstick
from orchestrator.statistics.comparison import EFFECT_SIZE, Comparison
from orchestrator.statistics.racing import Extension
from orchestrator.statistics.table import ComparisonTable
from orchestrator.statistics.wording import clash_notes, verdict_text
from orchestrator.study.trial import TrialState

_BRANCHES = ("clip", "frame")
_HOW = "mean ± standard deviation between seeds, at each run's best epoch"


class Measured(Protocol):
    """A sweep, or a part of one, with the yardstick of its data."""

    @property
    def data(self) -> SweepData:
        """The sweep as it was read."""

    @property
    def yardstick(self) -> Yardstick | None:
        """What frozen features retrieve; None if not known."""


def recall_tables(findings: Measured, ablation: AblationFinding) -> Iterator[Block]:
    """Recalls of the fused scores, then of each branch that was evaluated."""
    yield from fused_tables(findings, ablation)
    yield from _recalls_by_branch(ablation)


def fused_tables(findings: Measured, ablation: AblationFinding) -> Iterator[Block]:
    """Recalls of the fused scores in the paper's layout.

    With verified labels there is a table for each notion of what is correct. The frozen features
    are the last rows, where they are known.
    """
    spec, yardstick = findings.data.spec, findings.yardstick
    metric, frozen = spec.objective.metric, yardstick.rows if yardstick else ()
    # The objective's interval stands beside the objective.
    is_here = not group_of(metric)
    rows = [
        [row.name, _seeds(row), *_recalls(row, "")]
        + [interval_text(row.summary.interval if row.summary else None)] * is_here
        for row in ablation.rows
    ]
    rows += [
        [row.name, NO_NUMBER, *row.recall_cells()] + [interval_text(row.interval)] * is_here
        for row in frozen
    ]
    heads = ["row", "seeds", *RECALL_HEADS]
    heads += [f"95 % interval of {display_name(metric)}"] * is_here
    notes = [*_single_seed_notes(ablation), *[FROZEN_NOTE] * bool(frozen)]
    right = what_is_right(spec, metrics_of_rows(ablation.rows))
    keys = [row_key(row[0]) for row in rows]
    yield Table(f"Recalls on validation{right}: {_HOW}", heads, rows, notes=notes, keys=keys)
    yield from group_tables(ablation, metric, yardstick, _HOW)


def _recalls(row: RowFinding, branch: str) -> list[str]:
    return [with_spread(spread(row.values(f"val/{branch}{name}"))) for name in RECALLS]


def _seeds(row: RowFinding) -> str:
    parts = [str(len(row.runs))]
    parts += [f"{row.failed} failed"] if row.failed else []
    parts += [f"{row.unfinished} to come"] if row.unfinished else []
    return ", ".join(parts)


def _single_seed_notes(ablation: AblationFinding) -> list[str]:
    if max((len(row.runs) for row in ablation.rows), default=0) > 1:
        return []
    return ["One seed: this table shows no difference to be real, however large it looks."]


def _recalls_by_branch(ablation: AblationFinding) -> Iterator[Block]:
    rows = [
        [row.name, branch, *_recalls(row, f"{branch}/")]
        for row in ablation.rows
        for branch in _BRANCHES
        if row.values(f"val/{branch}/SumR")
    ]
    if rows:
        heads = ("row", "branch", *RECALL_HEADS)
        numbers: list[Align] = ["right"] * len(RECALL_HEADS)
        yield Table(f"Recalls by branch: {_HOW}", heads, rows, align=("left", "left", *numbers),
                    keys=[row_key(row[0]) for row in rows])  # fmt: skip


def difference_table(table: ComparisonTable, caption: str, notes: Sequence[str] = ()) -> Table:
    """Every comparison, a row each: paired difference, interval, verdict.

    Args:
        table: The comparisons.
        caption: What they are of.
        notes: Sentences below the table, after those about its verdicts.
    """
    rows = [
        [
            comparison.contrast.variant,
            comparison.contrast.reference,
            str(len(comparison.seeds)),
            signed(comparison.difference),
            interval_text(comparison.interval),
            p_cell(comparison.corrected_p),
            number(comparison.effect_size, 2),
            verdict_text(comparison),
        ]
        for comparison in table.comparisons
    ]
    heads = ("row", "against", "seeds", "difference", "95 % interval", "corrected p", "effect size",
             "verdict")  # fmt: skip
    return Table(
        caption,
        heads,
        rows,
        align=("left", "left", "right", "right", "right", "right", "right", "left"),
        notes=[*_difference_notes(table), *notes],
        keys=[row_key(comparison.contrast.variant) for comparison in table.comparisons],
    )


def _difference_notes(table: ComparisonTable) -> list[str]:
    notes = [
        f"At most {table.level:.0%} of tables without any effect call something real: p is "
        "corrected over all comparisons (Holm), intervals are each comparison's own. Effect size: "
        f"{EFFECT_SIZE}.",
        *clash_notes(table.comparisons),
    ]
    if table.race is not None:
        looks = ", ".join(map(str, table.race.looks))
        notes.append(f"Seeds were raced: looks at {looks} seeds, each with its share of the level.")
    if table.extension is not None:
        notes.append(_extended(table.extension, table.level))
    notes += _left_out(table.comparisons)
    return notes


def _extended(extension: Extension, level: float) -> str:
    """The cost of adding seeds to a table that had been judged."""
    judged = " and ".join(map(str, extension.judged))
    return (
        f"Seeds were added after the table had been judged at {judged}: p is multiplied "
        f"by {1 / extension.share:g}, and over all looks at most {extension.chance(level):.1%} "
        "of tables without any effect call something real. A race, or as many seeds from the "
        f"start, keeps to {level:.0%}."
    )


def _left_out(comparisons: Sequence[Comparison]) -> list[str]:
    texts = [
        f"{comparison.contrast.variant} against {comparison.contrast.reference}: seeds "
        f"{', '.join(map(str, comparison.left_out))}"
        for comparison in comparisons
        if comparison.left_out
    ]
    if not texts:
        return []
    return [f"Seeds that only one side finished are left out: {'; '.join(texts)}."]


def cost_table(findings: Findings, ablation: AblationFinding) -> Table:
    """What every row cost: epochs, device hours, seconds and parameters, failed runs included."""
    unit = "GPU" if findings.data.spec.resources.gpus else "CPU"
    return Table(
        "Cost of every row",
        ("row", "epochs to best", f"{unit}-hours", "s an epoch", "ms a query", "parameters"),
        [_cost(findings, row) for row in ablation.rows],
        notes=[
            "ms a query: the time of an evaluation, encoding of videos included, divided by its "
            "queries, which are answered together.",
            *_incomplete(ablation),
            *_taken_over(findings),
        ],
        keys=[row_key(row.name) for row in ablation.rows],
    )


def _cost(findings: Findings, row: RowFinding) -> list[str]:
    resources, videos = findings.data.spec.resources, findings.data.videos
    devices = (resources.gpus or resources.cpus) * resources.workers
    seconds = [run.seconds for run in (*row.runs, *row.others) if run.seconds is not None]
    epochs = [float(run.trial.best_epoch) for run in row.runs if run.trial.best_epoch]
    evaluation_s = _mean(row.values("time/evaluation_s"))
    query_ms = None
    if evaluation_s is not None and videos is not None:
        query_ms = 1000 * evaluation_s / videos.num_queries
    return [
        row.name,
        with_spread(spread(epochs)),
        hours(devices * sum(seconds) if seconds else None),
        number(_mean(row.values("time/epoch_s"))),
        number(query_ms, 2),
        millions(next((run.parameters for run in row.runs if run.parameters), None)),
    ]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _incomplete(ablation: AblationFinding) -> list[str]:
    """Which incomplete runs the hours include, and which runs they lack."""
    runs = [run for row in ablation.rows for run in (*row.runs, *row.others)]
    partly = any(not run.is_complete and run.seconds is not None for run in runs)
    missing = [
        run.trial.number
        for run in runs
        if run.seconds is None
        and not run.trial.is_taken
        and run.trial.state is not TrialState.RUNNING
    ]
    notes = ["Hours include the finished epochs of failed and unfinished runs."] * partly
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        notes.append(f"Hours lack these trials, whose seconds are not known: {listed}.")
    return notes


def _taken_over(findings: Findings) -> list[str]:
    trials = [run.trial for run in findings.data.runs if run.trial.is_taken]
    texts = [f"{trial.number} from {trial.taken_from}" for trial in trials]
    return [f"Results copied from other trials, at no cost here: {', '.join(texts)}."] * bool(texts)


def collapse_table(ablation: AblationFinding) -> Table:
    """Semantic collapse of every row."""
    rows = [
        [row.name, *(with_spread(spread(row.values(name)), 3) for name in COLLAPSE_METRICS)]
        for row in ablation.rows
    ]
    return Table(
        "Collapse diagnostics at the best epoch",
        ("row", "query difference", "query Spearman", "clip difference"),
        rows,
        keys=[row_key(row.name) for row in ablation.rows],
        notes=[
            "Difference: (intra - total) / (intra + total) of mean similarities within videos and "
            "over all; lower is less collapsed. Spearman: rank correlation of query similarities "
            "with the teacher's; higher keeps more of its structure."
        ],
    )
