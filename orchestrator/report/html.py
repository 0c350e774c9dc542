"""A report as one HTML file that needs nothing else: no script, no font, no other file."""

from collections.abc import Sequence
from html import escape as escape_html

from orchestrator.report.document import Document, Figure, Paragraph, Table, Writer
from orchestrator.report.formatting import visible

# For a laptop and for paper: one column, wide tables scroll on their own.
_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --lead: #f6f8fa; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  color: var(--ink); background: #fff; margin: 0 auto; padding: 2.5rem 1.5rem 4rem;
  max-width: 76rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 0.8rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: 0.7rem 0; }
.subtitle { color: var(--soft); font-size: 1.05rem; margin: 0.4rem 0 1.6rem; }
.lead { background: var(--lead); border-left: 4px solid #1f6feb; padding: 1rem 1.2rem;
  font-size: 1.1rem; max-width: none; }
.warning { border-left: 4px solid #9a6700; background: #fff8c5; padding: 0.8rem 1.2rem;
  max-width: none; }
.scroll { overflow-x: auto; margin: 1rem 0 0.4rem; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 0.5rem; }
th, td { padding: 0.32rem 0.6rem; border-bottom: 1px solid var(--line); white-space: nowrap;
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); font-weight: 600; }
tbody th { font-weight: 500; text-align: left; }
tbody tr:last-child > * { border-bottom: 2px solid var(--ink); }
.right { text-align: right; }
.left { text-align: left; }
td.left:last-child, .long { white-space: normal; min-width: 18rem; overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: 0.9rem; }
figure { margin: 1.4rem 0; break-inside: avoid; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 0.9rem; max-width: 46rem; margin-top: 0.3rem; }
pre { background: var(--lead); border: 1px solid var(--line); border-radius: 6px;
  padding: 0.8rem 1rem; overflow-x: auto; font-size: 0.85rem; line-height: 1.45; }
@media print {
  body { padding: 0; max-width: none; font-size: 10pt; }
  h2 { break-after: avoid; }
  table, pre { font-size: 8pt; }
  th, td { padding: 0.15rem 0.35rem; }
  .scroll { overflow: visible; break-inside: avoid; }
  pre { white-space: pre-wrap; }
}
""".strip()


def render_html(document: Document) -> str:
    """The document as one file."""
    writer = _HtmlWriter()
    body = "\n".join(map(writer.write, document.blocks))
    title = escape(document.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{title}</h1>\n<p class="subtitle">{escape(document.subtitle)}</p>\n'
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Text that a browser shows as it is."""
    return escape_html(visible(text))


class _HtmlWriter(Writer):
    def heading(self, text: str) -> str:
        return f"<h2>{escape(text)}</h2>"

    def paragraph(self, paragraph: Paragraph) -> str:
        kind = "lead" if paragraph.is_lead else "warning" if paragraph.is_warning else ""
        attribute = f' class="{kind}"' if kind else ""
        return f"<p{attribute}>{escape(paragraph.text)}</p>"

    def listing(self, text: str) -> str:
        return f"<pre>{escape(text)}</pre>"

    def table(self, table: Table) -> str:
        classes = _column_classes(table)
        head = "".join(
            f'<th scope="col" class="{kind}">{escape(column)}</th>'
            for column, kind in zip(table.columns, classes, strict=True)
        )
        rows = "\n".join(f"<tr>{_row(row, classes)}</tr>" for row in table.rows)
        notes = "".join(f'\n<p class="note">{escape(note)}</p>' for note in table.notes)
        return (
            f'<div class="scroll"><table>\n<caption>{escape(table.caption)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>{notes}"
        )

    def figure(self, figure: Figure) -> str:
        # The SVG is ours: texts of the user were escaped when it was drawn.
        caption = escape(figure.caption)
        return f"<figure>\n{figure.svg}\n<figcaption>{caption}</figcaption>\n</figure>"


def _column_classes(table: Table) -> list[str]:
    """Class of each column's cells: their side, and whether they are broken into lines."""
    pairs = zip(table.alignment, table.wraps, strict=True)
    return [f"{side} long" if is_long else side for side, is_long in pairs]


def _row(row: Sequence[str], classes: Sequence[str]) -> str:
    first, *others = row
    cells = "".join(
        f'<td class="{kind}">{escape(cell)}</td>'
        for cell, kind in zip(others, classes[1:], strict=True)
    )
    return f'<th scope="row" class="{classes[0]}">{escape(first)}</th>{cells}'
