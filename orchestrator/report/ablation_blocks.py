"""The parts of an ablation's report: the table in the paper's layout, comparisons, figures."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from orchestrator.report.document import Block, Figure, Heading, Paragraph, Table
from orchestrator.report.findings import AblationFinding, Findings, RowFinding, spread
from orchestrator.report.formatting import (
    count_text,
    hours,
    interval_text,
    number,
    p_text,
    signed,
    with_spread,
)
from orchestrator.report.row_figures import learning_figures, rows_with_intervals
from orchestrator.report.run_figures import collapse_figures, cost_figures
from orchestrator.statistics.comparison import EFFECT_SIZE, Comparison
from orchestrator.statistics.table import Table as Statistics
from orchestrator.statistics.wording import population_text, verdict_text

_RECALLS = ("R1", "R5", "R10", "R100", "SumR")
_SELECTED = " (protocol paper: selected on this split)"
_COLLAPSE = ("query_difference", "query_spearman", "clip_difference")


def ablation_blocks(findings: Findings, ablation: AblationFinding) -> Iterator[Block]:
    """All of it, in reading order."""
    yield Heading("The table")
    yield _recalls(ablation, findings.data.spec.protocol)
    if ablation.table is not None and ablation.table.comparisons:
        yield _comparisons(ablation.table)
    yield from _population(ablation)
    yield from _ladder_figure(findings, ablation)
    yield Heading("What it cost and how it came about")
    yield _costs(findings, ablation)
    yield from cost_figures(findings.data)
    yield from learning_figures(ablation.rows, findings.data.spec.objective.metric)
    yield Heading("Semantic collapse")
    yield _collapse(ablation)
    yield from collapse_figures(findings.data)


def _recalls(ablation: AblationFinding, protocol: str) -> Table:
    rows = [
        [
            row.name,
            _seeds(row),
            *(with_spread(spread(row.values(f"val/{name}"))) for name in _RECALLS),
            interval_text(row.summary.interval if row.summary else None),
            with_spread(spread(row.values("val/clip/SumR"))),
            with_spread(spread(row.values("val/frame/SumR"))),
        ]
        for row in ablation.rows
    ]
    return Table(
        f"Recalls on validation{_SELECTED if protocol == 'paper' else ''}: mean ± standard "
        "deviation between seeds, at each run's best epoch",
        (
            "row",
            "seeds",
            "R@1",
            "R@5",
            "R@10",
            "R@100",
            "SumR",
            "95 % interval",
            "clip SumR",
            "frame SumR",
        ),
        rows,
        notes=_single_seed_notes(ablation),
    )


def _seeds(row: RowFinding) -> str:
    parts = [str(len(row.runs))]
    parts += [f"{row.failed} failed"] if row.failed else []
    parts += [f"{row.unfinished} to come"] if row.unfinished else []
    return ", ".join(parts)


def _single_seed_notes(ablation: AblationFinding) -> list[str]:
    if max((len(row.runs) for row in ablation.rows), default=0) > 1:
        return []
    return ["One seed: this table shows no difference to be real, however large it looks."]


def _comparisons(table: Statistics) -> Table:
    rows = [
        [
            one.contrast.variant,
            one.contrast.reference,
            str(len(one.seeds)),
            signed(one.difference),
            interval_text(one.interval),
            p_text(one.corrected_p).removeprefix("p = ").removeprefix("p "),
            number(one.effect_size, 2),
            verdict_text(one),
        ]
        for one in table.comparisons
    ]
    return Table(
        "Differences of SumR, paired by seed and video",
        (
            "row",
            "against",
            "seeds",
            "difference",
            "95 % interval",
            "corrected p",
            "effect size",
            "verdict",
        ),
        rows,
        align=("left", "left", "right", "right", "right", "right", "right", "left"),
        notes=_comparison_notes(table),
    )


def _comparison_notes(table: Statistics) -> list[str]:
    notes = [
        f"At most {table.level:.0%} of tables without any effect call something real: p is "
        "corrected over all comparisons (Holm), intervals are each comparison's own. Effect size: "
        f"{EFFECT_SIZE}."
    ]
    if table.race is not None:
        looks = ", ".join(map(str, table.race.looks))
        notes.append(f"Seeds were raced: looks at {looks} seeds, each with its share of the level.")
    notes += _left_out(table.comparisons)
    return notes


def _left_out(comparisons: Sequence[Comparison]) -> list[str]:
    texts = [
        f"{one.contrast.variant} against {one.contrast.reference}: seeds "
        f"{', '.join(map(str, one.left_out))}"
        for one in comparisons
        if one.left_out
    ]
    return [f"Seeds that only one side finished count for nothing: {'; '.join(texts)}."] * bool(
        texts
    )


def _population(ablation: AblationFinding) -> Iterator[Block]:
    if ablation.table is None:
        return
    found = max((one.found for one in ablation.table.summaries), key=lambda one: one.num_seeds)
    yield Paragraph(f"Intervals speak of {population_text(found)}.")


def _ladder_figure(findings: Findings, ablation: AblationFinding) -> Iterator[Block]:
    if any(row.summary and row.summary.interval for row in ablation.rows):
        yield Figure(
            f"{findings.data.spec.objective.metric} of every row: each run, the mean, and the 95 % "
            "interval for new seeds and new videos. Rows share seeds and videos, so overlapping "
            "intervals can hide a difference that is real: the table above decides.",
            rows_with_intervals(ablation.rows, findings.data.spec.objective.metric),
        )


def _costs(findings: Findings, ablation: AblationFinding) -> Table:
    resources = findings.data.spec.resources
    unit = "GPU" if resources.gpus else "CPU"
    return Table(
        "Cost of every row",
        ("row", "epochs to best", f"{unit}-hours", "s an epoch", "ms a query", "parameters"),
        [_cost(findings, row) for row in ablation.rows],
        notes=[
            "A query: the seconds of an evaluation, videos encoded, over its queries, which are "
            "answered together.",
            *_taken_over(findings),
        ],
    )


def _cost(findings: Findings, row: RowFinding) -> list[str]:
    resources, videos = findings.data.spec.resources, findings.data.videos
    devices = (resources.gpus or resources.cpus) * resources.workers
    seconds = [one.seconds for one in row.runs if one.seconds is not None]
    epochs = [float(one.trial.best_epoch) for one in row.runs if one.trial.best_epoch]
    evaluation = _mean(row.values("time/evaluation_s"))
    query_ms = None
    if evaluation is not None and videos is not None:
        query_ms = 1000 * evaluation / videos.num_queries
    return [
        row.name,
        with_spread(spread(epochs)),
        hours(devices * sum(seconds) if seconds else None),
        number(_mean(row.values("time/epoch_s"))),
        number(query_ms, 2),
        count_text(next((one.parameters for one in row.runs if one.parameters), None)),
    ]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _taken_over(findings: Findings) -> list[str]:
    taken = [one.trial for one in findings.data.runs if one.trial.taken_from is not None]
    texts = [f"{one.number} from {one.taken_from}" for one in taken]
    return [f"Trials taken over, which cost nothing here: {', '.join(texts)}."] * bool(texts)


def _collapse(ablation: AblationFinding) -> Table:
    rows = [
        [
            row.name,
            *(with_spread(spread(row.values(f"val/collapse/{name}")), 3) for name in _COLLAPSE),
        ]
        for row in ablation.rows
    ]
    return Table(
        "Collapse diagnostics at the best epoch",
        ("row", "query difference", "query Spearman", "clip difference"),
        rows,
        notes=[
            "Difference: (intra - total) / (intra + total) of mean similarities within videos and "
            "over all; lower is less collapsed. Spearman: rank correlation of query similarities "
            "with the teacher's; higher keeps more of its structure."
        ],
    )
