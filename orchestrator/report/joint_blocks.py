"""The report of a sweep over several data sets: over all, on each, and from one to another."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from orchestrator.base.text import command
from orchestrator.report.ablation_tables import difference_table, fused_tables
from orchestrator.report.build import cost_line
from orchestrator.report.details import joint_details
from orchestrator.report.document import (
    Align,
    Block,
    Document,
    Heading,
    Listing,
    Paragraph,
    Table,
)
from orchestrator.report.formatting import (
    display_name,
    interval_text,
    labelled,
    p_cell,
    protocol_label,
    signed,
)
from orchestrator.report.joint_answer import against_frozen, joint_answer, joint_verdict, listed
from orchestrator.report.joint_figures import gains_figure
from orchestrator.report.joint_findings import DataSetFinding, JointFindings
from orchestrator.report.marks import row_key
from orchestrator.report.transfer_blocks import transfer_blocks
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.several_data import METHOD, JointTable


def build_joint(found: JointFindings) -> Document:
    """The document that every format shows."""
    counts = f"{len(found.parts)} of {len(found.spec.parts)} data sets"
    subtitle = f"Sweep {found.spec.name} over {listed(tuple(found.spec.parts))}, {counts} begun"
    blocks = labelled(_blocks(found), protocol_label(found.spec.first))
    return Document(found.spec.question, subtitle, tuple(blocks), joint_details(found))


def _blocks(found: JointFindings) -> Iterator[Block]:
    yield Paragraph(joint_answer(found), is_lead=True)
    yield from _warnings(found)
    yield from cost_line(found.cost)
    if found.table is not None and found.table.comparisons:
        yield Heading("Over all data sets")
        yield _means(found, found.table)
        yield from gains_figure(found.table, found.metric)
        yield _between(found, found.table)
    for data, part in found.parts.items():
        yield from _of_data(data, part, found)
    if found.transfer is not None:
        yield from transfer_blocks(found.transfer)
    yield from _provenance(found)


def _warnings(found: JointFindings) -> Iterator[Block]:
    if found.spec.first.protocol == "paper":
        yield Paragraph(
            "Protocol paper: epochs and trials were selected on the split that is reported here, "
            "as the field does. The numbers are optimistic; differences of rows are less so.",
            is_warning=True,
        )
    waiting = []
    if found.to_come:
        waiting.append(f"{listed(found.to_come)} has nothing to show yet")
    if found.num_unfinished:
        waiting.append(f"{found.num_unfinished} runs of the other data sets are unfinished")
    if waiting:
        yield Paragraph(
            f"{'; '.join(waiting)}: what follows is what is known so far, and verdicts are "
            "provisional, since repeated looks find differences by chance.",
            is_warning=True,
        )
    for problem in found.problems:
        yield Paragraph(problem, is_warning=True)


def _means(found: JointFindings, table: JointTable) -> Table:
    """Every comparison, with its difference on each data set and on their mean."""
    data = list(found.spec.parts)
    rows = [
        [
            each.contrast.variant,
            each.contrast.reference,
            *(signed(each.estimates[name].mean) for name in data),
            signed(each.difference),
            interval_text(each.interval),
            p_cell(each.corrected_p),
            joint_verdict(each),
        ]
        for each in table.comparisons
    ]
    heads = ("row", "against", *data, "mean", "95 % interval", "corrected p", "verdict")
    numbers: list[Align] = ["right"] * (len(data) + 3)
    return Table(
        f"Differences of {display_name(found.metric)}, on each data set and on their mean",
        heads,
        rows,
        align=("left", "left", *numbers, "left"),
        notes=[METHOD, *_notes(table)],
        keys=_keys(table),
    )


def _notes(table: JointTable) -> list[str]:
    notes = [
        f"At most {table.level:.0%} of such tables without any effect call something real: p is "
        "corrected over all comparisons (Holm), intervals are each comparison's own. Verdicts of "
        "the data sets further below are tables of their own.",
    ]
    if table.extension is not None:
        judged = " and ".join(map(str, table.extension.judged))
        notes.append(
            f"Seeds were added after the table had been judged at {judged}: p is multiplied by "
            f"{1 / table.extension.share:g}, and over all looks at most "
            f"{table.extension.chance(table.level):.1%} of tables without any effect call "
            "something real."
        )
    return notes


def _between(found: JointFindings, table: JointTable) -> Table:
    """Whether the gain of each comparison differs between data sets."""
    rows = []
    for each in table.comparisons:
        most, contrast = each.between, each.contrast
        cells = ["", "", "", "", Verdict.NOT_SHOWN.value]
        if most is not None:
            verdict = "differs" if most.is_shown else Verdict.NOT_SHOWN.value
            cells = [most.data, signed(most.difference), interval_text(most.interval),
                     p_cell(most.corrected_p), verdict]  # fmt: skip
        rows.append([contrast.variant, contrast.reference, *cells])
    others = "the other" if len(found.spec.parts) == 2 else "the mean of the others"
    heads = ("row", "against", "on", f"more than on {others}", "95 % interval", "corrected p",
             "between data sets")  # fmt: skip
    return Table(
        f"Whether gains in {display_name(found.metric)} differ between data sets",
        heads,
        rows,
        align=("left", "left", "left", "right", "right", "right", "left"),
        notes=[
            "Each row shows the data set whose gain is furthest, in standard errors, from that of "
            "the others; p is corrected over the data sets and over this table."
        ],
        keys=_keys(table),
    )


def _keys(table: JointTable) -> list[str]:
    return [row_key(each.contrast.variant) for each in table.comparisons]


def _of_data(data: str, part: DataSetFinding, found: JointFindings) -> Iterator[Block]:
    """The tables of one data set, as its own report has them."""
    spec = part.data.spec
    yield Heading(f"On {data}")
    own = command("report", spec.name, home=found.home)
    yield Paragraph(f"Sweep {spec.name}; cost, curves, collapse and its winner: `{own}`.")
    if text := against_frozen(part, found.metric):
        yield Paragraph(text)
    blocks = list(fused_tables(part, part.rows))
    if part.rows.table is not None and part.rows.table.comparisons:
        caption = f"Differences of {display_name(found.metric)}, paired by seed and video"
        blocks.append(difference_table(part.rows.table, caption))
    yield from _named(blocks, data)


def _named(blocks: Iterable[Block], data: str) -> Iterator[Block]:
    """The blocks, with the data set in the caption of every table."""
    for block in blocks:
        if isinstance(block, Table):
            yield replace(block, caption=f"{data}: {block.caption}")
        else:
            yield block


def _provenance(found: JointFindings) -> Iterator[Block]:
    yield Heading("Where it is from")
    rows = [
        [
            data,
            part.data.spec.name,
            ", ".join(f"{n} {state}" for state, n in part.data.study.counts().items() if n),
            str(part.data.attributes.get("data_fingerprint", "unknown"))[:12],
            str(part.data.attributes.get("code_version", "unknown")),
        ]
        for data, part in found.parts.items()
    ]
    heads = ("data set", "sweep", "trials", "data", "code")
    sides: list[Align] = ["left"] * len(heads)
    yield Table("Provenance", heads, rows, align=sides)
    yield Listing(found.spec.dump_yaml().rstrip())
