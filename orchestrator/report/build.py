"""Builds the report of a sweep's findings: question, answer, evidence and its origin."""

from collections.abc import Iterator
from datetime import UTC, datetime

from orchestrator.base.text import first_line
from orchestrator.report.ablation_blocks import ablation_blocks
from orchestrator.report.answer import answer
from orchestrator.report.comparison_blocks import comparison_blocks
from orchestrator.report.details import details
from orchestrator.report.document import Block, Document, Heading, Listing, Paragraph, Table
from orchestrator.report.example_blocks import example_blocks
from orchestrator.report.findings import Findings
from orchestrator.report.formats import Format
from orchestrator.report.formatting import NO_NUMBER, labelled, protocol_label
from orchestrator.report.front_blocks import front_blocks
from orchestrator.report.search_blocks import search_blocks
from orchestrator.report.slice_blocks import slice_blocks
from orchestrator.report.winner_blocks import winner_blocks
from orchestrator.study.failures import FailureGroup
from orchestrator.study.front import shown_counts
from orchestrator.study.money import Cost
from orchestrator.study.trial import TrialState

# The end of a long traceback shows where the error happened.
_SHOWN_LINES = 12


def build(findings: Findings, wanted: Format = "html") -> Document:
    """The document that a format shows; the page has all trials and queries, others a few."""
    spec = findings.data.spec
    blocks = labelled(_blocks(findings, wanted), protocol_label(spec))
    return Document(spec.question, _subtitle(findings), tuple(blocks), details(findings))


def _subtitle(findings: Findings) -> str:
    data = findings.data
    states = shown_counts(data.study.counts(), findings.front)
    counts = {state: count for state, count in states.items() if count}
    listed = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no trials yet"
    started = data.attributes.get("started_ms")
    day = f"{_when(started)}, " if started else ""
    protocol = "" if data.spec.protocol == "validation" else f", protocol {data.spec.protocol}"
    return f"Sweep {data.spec.name}, {day}{listed}{protocol}"


def _blocks(findings: Findings, wanted: Format) -> Iterator[Block]:
    yield Paragraph(answer(findings), is_lead=True)
    yield from _warnings(findings)
    yield from cost_line(findings.cost)
    if findings.ablation is not None:
        yield from ablation_blocks(findings, findings.ablation)
    elif findings.search is not None:
        if findings.front is not None:
            yield from front_blocks(findings.data, findings.front)
        yield from search_blocks(findings, findings.search, in_full=wanted == "html")
    if findings.against is not None:
        yield from comparison_blocks(findings.against)
    if findings.winner is not None:
        yield from winner_blocks(findings, findings.winner)
    if findings.slices is not None:
        yield from slice_blocks(findings.slices)
    if findings.examples is not None and wanted != "tex":
        yield from example_blocks(findings.examples, in_full=wanted == "html")
    if findings.failures:
        yield Heading("Failed trials")
        for group in findings.failures:
            yield from _failure(group)
    yield from _provenance(findings)


def _warnings(findings: Findings) -> Iterator[Block]:
    if findings.data.spec.protocol == "paper":
        yield Paragraph(
            "Protocol paper: epochs and trials were selected on the split that is reported here, "
            "as the field does. The numbers are optimistic; differences of rows are less so.",
            is_warning=True,
        )
    num_missing = _num_unfinished(findings)
    if num_missing:
        unfinished = f"{num_missing} trials are" if num_missing > 1 else "1 trial is"
        yield Paragraph(f"{unfinished} unfinished; {_so_far(findings)}.", is_warning=True)
    for problem in dict.fromkeys(findings.data.problems):
        yield Paragraph(problem, is_warning=True)


def cost_line(cost: Cost | None) -> Iterator[Block]:
    """What the trials cost; nothing without prices."""
    if cost is not None:
        yield Paragraph(f"Cost: {cost.text}.")


def _num_unfinished(findings: Findings) -> int:
    """Trials that run, and for an ablation also those that have not begun."""
    if findings.ablation is not None:
        return sum(row.unfinished for row in findings.ablation.rows)
    return findings.data.study.counts()[TrialState.RUNNING]


def _so_far(findings: Findings) -> str:
    text = "what follows is what is known so far"
    if findings.ablation is None:
        return text
    return (
        f"{text}, and verdicts are provisional: they keep their level in the finished table only, "
        "since repeated looks find differences by chance"
    )


def _failure(group: FailureGroup) -> Iterator[Block]:
    numbers = ", ".join(map(str, group.numbers))
    yield Paragraph(
        f"{len(group.numbers)} failed (trials {numbers}): {group.kind}: {first_line(group.message)}"
    )
    lines = group.traceback.strip().splitlines()
    if lines:
        yield Listing("\n".join(lines[-_SHOWN_LINES:]))


def _provenance(findings: Findings) -> Iterator[Block]:
    data = findings.data
    known = data.attributes
    hardware, packages = known.get("hardware", {}), known.get("packages", {})
    gpus = ", ".join(hardware.get("gpus", [])) or "no GPU"
    machine = f"{hardware.get('cpu', 'unknown')}, {hardware.get('cpus')} CPUs, {gpus}"
    rows = [
        ["code", str(known.get("code_version", "unknown"))],
        ["data", str(known.get("data_fingerprint", "unknown"))],
        ["driver's machine", machine],
        ["packages", ", ".join(f"{name} {version}" for name, version in packages.items())],
        ["started", _when(known.get("started_ms"))],
        ["ended", _when(known.get("ended_ms"))],
        ["study", data.study.url],
    ]
    yield Heading("Where it is from")
    yield Table("Provenance", ("what", "value"), rows, align=("left", "left"))
    yield Listing(str(known.get("spec_yaml", "")).rstrip())


def _when(milliseconds: int | None) -> str:
    if milliseconds is None:
        return NO_NUMBER
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
