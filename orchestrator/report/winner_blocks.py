"""The trial whose checkpoint represents a sweep: what it is, how it was chosen, what it scores."""

from collections.abc import Iterator
from statistics import fmean

from orchestrator.base.text import command
from orchestrator.report.document import Block, Heading, Listing, Paragraph, Table
from orchestrator.report.findings import Findings
from orchestrator.report.formatting import NO_NUMBER, RECALLS, display_name, number
from orchestrator.report.front_blocks import costs_text
from orchestrator.report.moment_blocks import moment_blocks
from orchestrator.report.relevance_blocks import scored_tables, what_is_right, winner_table
from orchestrator.statistics.comparison import Verdict
from orchestrator.study.trial import TrialSummary


def winner_blocks(findings: Findings, winner: TrialSummary) -> Iterator[Block]:
    """All blocks, in reading order."""
    metric = findings.data.spec.objective.metric
    yield Heading("The winner")
    of = f" (a fresh run of trial {winner.confirms})" if winner.confirms is not None else ""
    yield Paragraph(
        f"{_row(findings, winner)}Trial {winner.number}{of}, seed {winner.seed}: {metric} "
        f"{number(winner.value)} at epoch {winner.best_epoch} of {winner.epochs}."
        f"{_why(findings, winner)}{_selection(findings)}"
    )
    if winner.parameters:
        values = [[path, str(value)] for path, value in winner.parameters.items()]
        yield Table("Its parameters", ("setting", "value"), values, align=("left", "left"))
    yield from winner_table(findings, winner)
    if findings.test:
        yield _test(findings)
        yield from scored_tables(findings)
    score = findings.test.get(winner.number)
    if score is not None and score.moments is not None:
        yield from moment_blocks(winner.number, score.moments)
    trial = f"{findings.data.spec.name}/{winner.number}"
    yield Listing(command("reproduce", trial, home=findings.data.home))


def _why(findings: Findings, winner: TrialSummary) -> str:
    """By what it won where its value alone does not decide, and what it costs."""
    front = findings.front
    if front is None:
        return ""
    reason = f" It won as {front.reason}." if front.reason else ""
    return f"{reason} It costs {costs_text(front, winner)}."


def _row(findings: Findings, winner: TrialSummary) -> str:
    """In an ablation, the row of the winner and whether it is shown to be better."""
    if findings.ablation is None or winner.variant is None:
        return ""
    rows = findings.ablation.rows
    row = next(row for row in rows if row.name == winner.variant)
    most_runs = max(len(each.runs) for each in rows)
    is_even = all(len(each.runs) == most_runs for each in rows)
    of = "" if is_even else " of the rows with the most complete runs"
    text = f"{row.name} has the best mean{of}{_standing(findings, row.name)}."
    values = [run.trial.value for run in row.runs if run.trial.value is not None]
    if len(values) < 2:
        return f"{text} "
    return (
        f"{text} The winner is the best of its {len(values)} seeds; the mean of all of them, "
        f"{number(fmean(values))}, says more than that one value. "
    )


def _standing(findings: Findings, row: str) -> str:
    """Whether the row is shown to be better than the baseline."""
    ablation = findings.ablation
    assert ablation is not None, "only an ablation has rows"
    if ablation.table is None or len(ablation.rows) < 2:
        return ""
    baseline = ablation.rows[0].name
    real = [
        comparison.contrast.variant
        for comparison in ablation.table.comparisons
        if comparison.contrast.reference == baseline and comparison.verdict is Verdict.REAL
    ]
    if row == baseline:
        better = f"{', '.join(real)} on fewer runs" if real else "no row"
        return f"; {better} is shown to be better"
    return f"; it is {'' if row in real else 'not '}shown to be better than {baseline}"


def _selection(findings: Findings) -> str:
    """How optimistic the best value of all epochs is."""
    selection = findings.selection
    if selection is None or selection.optimism is None:
        return ""
    whose = "its own" if findings.is_knee else "the"
    of = "" if findings.is_knee else " of all trials"
    return (
        f" The best of {whose} {selection.candidates} epochs{of} is "
        f"{number(selection.apparent)}. Where the best is chosen on some of the videos and read on "
        f"the others, it comes to {number(selection.honest)}: the choice makes it look better by "
        f"{number(selection.optimism)}."
    )


def _test(findings: Findings) -> Table:
    rows = [
        [
            str(trial),
            str(score.epoch),
            *(number(score.metrics.get(name)) for name in RECALLS),
            score.device,
        ]
        for trial, score in sorted(findings.test.items())
    ]
    frozen = findings.yardstick.rows if findings.yardstick else ()
    rows += [[row.name, NO_NUMBER, *row.recall_cells("test"), NO_NUMBER] for row in frozen]
    scored = next(iter(findings.test.values()))
    right = what_is_right(findings.data.spec, scored.metrics)
    return Table(
        f"Test, scored once, for what was selected on validation{right}",
        ("trial", "epoch", *(display_name(f"test/{name}") for name in RECALLS), "on"),
        rows,
    )
