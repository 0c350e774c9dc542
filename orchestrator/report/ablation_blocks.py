"""The parts of an ablation's report, in reading order."""

from collections.abc import Iterator

from orchestrator.report.ablation_figures import learning_figures, rows_with_intervals
from orchestrator.report.ablation_tables import (
    collapse_table,
    cost_table,
    difference_table,
    recall_tables,
)
from orchestrator.report.document import Block, Heading, Paragraph
from orchestrator.report.findings import AblationFinding, Findings
from orchestrator.report.formatting import display_name, not_compared
from orchestrator.report.run_figures import collapse_figures, cost_figures
from orchestrator.report.yardstick_blocks import yardstick_differences
from orchestrator.statistics.wording import population_text


def ablation_blocks(findings: Findings, ablation: AblationFinding) -> Iterator[Block]:
    """Recalls, differences, cost, learning curves and collapse."""
    metric = findings.data.spec.objective.metric
    yield Heading("The table")
    yield from recall_tables(findings, ablation)
    if why := not_compared(metric):
        yield Paragraph(why)
    if ablation.table is not None and ablation.table.comparisons:
        caption = f"Differences of {display_name(metric)}, paired by seed and video"
        yield difference_table(ablation.table, caption)
    if findings.yardstick is not None:
        yield from yardstick_differences(findings.yardstick, metric)
    if ablation.table is not None:
        means = (summary.estimate for summary in ablation.table.summaries)
        most_seeds = max(means, key=lambda mean: mean.num_seeds)
        yield Paragraph(f"Intervals hold for {population_text(most_seeds)}.")
    yield from rows_with_intervals(ablation.rows, metric)
    yield Heading("Cost and learning curves")
    yield cost_table(findings, ablation)
    yield from cost_figures(findings.data)
    yield from learning_figures(ablation.rows, metric)
    yield Heading("Semantic collapse")
    yield collapse_table(ablation)
    yield from collapse_figures(findings.data)
