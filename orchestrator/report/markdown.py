"""A report as Markdown that also reads in a terminal: columns are padded."""

from collections.abc import Iterable, Sequence

from orchestrator.report.document import Block, Document, Figure, Paragraph, Table, Writer
from orchestrator.report.formatting import visible

# Characters that would begin markup inside a cell or a sentence.
_SPECIAL = str.maketrans(
    {"|": "\\|", "<": "&lt;", "\n": " ", "`": "'", "\\": "\\\\", "*": "\\*", "\t": " "}
)
# A rule of fewer dashes makes no table.
_NARROWEST = 3


def render_markdown(document: Document) -> str:
    """The document as Markdown; a figure is only named."""
    parts = [f"# {_plain(document.title)}", _plain(document.subtitle)]
    return "\n\n".join(filter(None, [*parts, render_blocks(document.blocks)])) + "\n"


def render_blocks(blocks: Iterable[Block]) -> str:
    """Blocks as Markdown, without an end of line."""
    return "\n\n".join(filter(None, map(_MarkdownWriter().write, blocks)))


class _MarkdownWriter(Writer):
    def heading(self, text: str) -> str:
        return f"## {_plain(text)}"

    def paragraph(self, paragraph: Paragraph) -> str:
        text = _plain(paragraph.text)
        return f"**{text}**" if paragraph.is_lead or paragraph.is_warning else text

    def listing(self, text: str) -> str:
        return "\n".join(f"    {line}" for line in visible(text).splitlines())

    def table(self, table: Table) -> str:
        head, *rows = [[_plain(cell) for cell in row] for row in (table.columns, *table.rows)]
        widths = [max(_NARROWEST, *map(len, column)) for column in zip(head, *rows, strict=True)]
        rule = [
            "-" * (width - 1) + ("-" if side == "left" else ":")
            for width, side in zip(widths, table.alignment, strict=True)
        ]
        lines = [_line(row, widths, table) for row in (head, rule, *rows)]
        notes = [_plain(note) for note in table.notes]
        return "\n\n".join([_plain(table.caption), "\n".join(lines), *notes])

    def figure(self, figure: Figure) -> str:
        return f"*Figure in the HTML report: {_plain(figure.caption)}*"


def _line(cells: Sequence[str], widths: Sequence[int], table: Table) -> str:
    padded = [
        cell.ljust(width) if side == "left" else cell.rjust(width)
        for cell, width, side in zip(cells, widths, table.alignment, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _plain(text: str) -> str:
    return visible(text).translate(_SPECIAL).replace("](", "]\\(")
