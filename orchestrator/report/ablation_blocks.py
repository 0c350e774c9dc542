"""The parts of an ablation's report: tables of recalls, differences, cost and collapse, figures."""

from collections.abc import Iterator

from orchestrator.report.comparison_blocks import difference_table
from orchestrator.report.document import Block, Figure, Heading, Paragraph, Table
from orchestrator.report.findings import AblationFinding, Findings, spread
from orchestrator.report.formatting import not_compared, with_spread
from orchestrator.report.row_figures import (
    cost_table,
    learning_figures,
    recall_tables,
    rows_with_intervals,
)
from orchestrator.report.run_figures import collapse_figures, cost_figures
from orchestrator.statistics.wording import population_text

_COLLAPSE = ("query_difference", "query_spearman", "clip_difference")


def ablation_blocks(findings: Findings, ablation: AblationFinding) -> Iterator[Block]:
    """All of it, in reading order."""
    metric = findings.data.spec.objective.metric
    yield Heading("The table")
    yield from recall_tables(ablation, metric)
    if why := not_compared(metric):
        yield Paragraph(why)
    if ablation.table is not None and ablation.table.comparisons:
        yield difference_table(ablation.table, metric)
    yield from _population(ablation)
    yield from _ladder_figure(ablation, metric)
    yield Heading("What it cost and how it came about")
    yield cost_table(findings, ablation)
    yield from cost_figures(findings.data)
    yield from learning_figures(ablation.rows, metric)
    yield Heading("Semantic collapse")
    yield _collapse(ablation)
    yield from collapse_figures(findings.data)


def _population(ablation: AblationFinding) -> Iterator[Block]:
    if ablation.table is None:
        return
    found = max((one.found for one in ablation.table.summaries), key=lambda one: one.num_seeds)
    yield Paragraph(f"Intervals speak of {population_text(found)}.")


def _ladder_figure(ablation: AblationFinding, metric: str) -> Iterator[Block]:
    if any(row.summary and row.summary.interval for row in ablation.rows):
        yield Figure(
            f"{metric} of every row: each run, the mean, and the 95 % interval for new seeds and "
            "new videos. Rows share seeds and videos, so overlapping intervals can hide a "
            "difference that is real: the table above decides.",
            rows_with_intervals(ablation.rows, metric),
        )


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
