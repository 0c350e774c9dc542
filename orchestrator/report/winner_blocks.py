"""The trial whose checkpoint stands for a sweep: what it is, how it was chosen, what it scores."""

from collections.abc import Iterator
from statistics import fmean

from orchestrator.report.document import Block, Heading, Listing, Paragraph, Table
from orchestrator.report.findings import Findings
from orchestrator.report.formatting import display_name, number
from orchestrator.statistics.comparison import Verdict
from orchestrator.study.trial import TrialSummary

_RECALLS = ("R1", "R5", "R10", "R100", "SumR")


def winner_blocks(findings: Findings, winner: TrialSummary) -> Iterator[Block]:
    """All of it, in reading order."""
    metric = findings.data.spec.objective.metric
    yield Heading("The winner")
    of = f" (a fresh run of trial {winner.confirms})" if winner.confirms is not None else ""
    yield Paragraph(
        f"{_row(findings, winner)}Trial {winner.number}{of}, seed {winner.seed}: {metric} "
        f"{number(winner.value)} at epoch {winner.best_epoch} of {winner.epochs}."
        f"{_selection(findings)}"
    )
    if winner.parameters:
        values = [[path, str(value)] for path, value in winner.parameters.items()]
        yield Table("Its parameters", ("setting", "value"), values, align=("left", "left"))
    if findings.test:
        yield _test(findings)
    yield Listing(f"prvr-sweep reproduce {findings.data.spec.name}/{winner.number}")


def _row(findings: Findings, winner: TrialSummary) -> str:
    """Of an ablation: the row that it is a run of, which need not be shown to be better."""
    if findings.ablation is None or winner.variant is None:
        return ""
    row = next(one for one in findings.ablation.rows if one.name == winner.variant)
    values = [one.trial.value for one in row.runs if one.trial.value is not None]
    most = max(len(one.runs) for one in findings.ablation.rows)
    of = (
        ""
        if all(len(one.runs) == most for one in findings.ablation.rows)
        else (" of the rows with the most complete runs")
    )
    text = f"{row.name} has the best mean{of}{_standing(findings, row.name)}."
    if len(values) < 2:
        return f"{text} "
    return (
        f"{text} The best of its {len(values)} seeds stands for it, whose value says less than the "
        f"mean, {number(fmean(values))}. "
    )


def _standing(findings: Findings, row: str) -> str:
    ablation = findings.ablation
    assert ablation is not None, "only an ablation has rows"
    if ablation.table is None or len(ablation.rows) < 2:
        return ""
    baseline = ablation.rows[0].name
    real = [
        one.contrast.variant
        for one in ablation.table.comparisons
        if one.contrast.reference == baseline and one.verdict is Verdict.REAL
    ]
    if row == baseline:
        better = f"{', '.join(real)} on fewer runs" if real else "no row"
        return f"; {better} is shown to be better"
    return f"; it is {'' if row in real else 'not '}shown to be better than {baseline}"


def _selection(findings: Findings) -> str:
    """How optimistic the best value of all epochs is."""
    found = findings.selection
    if found is None or found.optimism is None:
        return ""
    return (
        f" The best of the {found.candidates} epochs of all trials is {number(found.apparent)}; "
        f"chosen without the videos it is read on, it comes to {number(found.honest)}: the choice "
        f"flatters it by {number(found.optimism)}."
    )


def _test(findings: Findings) -> Table:
    rows = [
        [
            str(trial),
            str(one.epoch),
            *(number(one.metrics.get(name)) for name in _RECALLS),
            one.device,
        ]
        for trial, one in sorted(findings.test.items())
    ]
    return Table(
        "Test, scored once, for what was selected on validation",
        ("trial", "epoch", *(display_name(f"test/{name}") for name in _RECALLS), "on"),
        rows,
    )
