"""A report as Markdown that also reads in a terminal: columns are padded."""

from collections.abc import Sequence

from orchestrator.report.document import (
    Block,
    Document,
    Figure,
    Heading,
    Listing,
    Paragraph,
    Table,
)
from orchestrator.report.formatting import visible

# What would begin something else inside of a cell or a sentence.
_SPECIAL = str.maketrans(
    {"|": "\\|", "<": "&lt;", "\n": " ", "`": "'", "\\": "\\\\", "*": "\\*", "\t": " "}
)


def render_markdown(document: Document) -> str:
    """The document as Markdown; figures are named only."""
    parts = [f"# {_plain(document.title)}", _plain(document.subtitle)]
    parts += [_block(one) for one in document.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"## {_plain(block.text)}"
        case Paragraph():
            text = _plain(block.text)
            return f"**{text}**" if block.is_lead or block.is_warning else text
        case Listing():
            return "\n".join(f"    {line}" for line in visible(block.text).splitlines())
        case Table():
            return _table(block)
        case Figure():
            return f"*Figure in the HTML report: {_plain(block.caption)}*"


def _table(table: Table) -> str:
    cells = [[_plain(one) for one in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(row[k]) for row in cells)) for k in range(len(table.columns))]
    rule = [
        "-" * (width - 1) + ("-" if side == "left" else ":")
        for width, side in zip(widths, table.alignment, strict=True)
    ]
    lines = [_line(cells[0], widths, table), _line(rule, widths, table)]
    lines += [_line(row, widths, table) for row in cells[1:]]
    notes = [_plain(note) for note in table.notes]
    return "\n\n".join([_plain(table.caption), "\n".join(lines), *notes])


def _line(cells: Sequence[str], widths: Sequence[int], table: Table) -> str:
    padded = [
        cell.ljust(width) if side == "left" else cell.rjust(width)
        for cell, width, side in zip(cells, widths, table.alignment, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _plain(text: str) -> str:
    return visible(text).translate(_SPECIAL).replace("](", "]\\(")
