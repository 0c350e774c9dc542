"""A report as one HTML file that needs nothing else: no font, no other file, no network.

Everything is in the markup. A script, `page/report.js`, adds what a reader does with it: names of
what is pointed at, rows and their marks found by each other, tables sorted by a column.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape as escape_html
from importlib import resources

from orchestrator.report.document import Document, Figure, Paragraph, Table, Writer
from orchestrator.report.formatting import visible
from orchestrator.report.marks import titled


def render_html(document: Document) -> str:
    """The document as one file."""
    writer = _HtmlWriter(document.details)
    body = "\n".join(map(writer.write, document.blocks))
    title, script = escape(document.title), _page("report.js")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_page('report.css')}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{title}</h1>\n<p class="subtitle">{escape(document.subtitle)}</p>\n'
        f'{body}\n</main>\n<script type="application/json" id="details">'
        f"{_json(document.details)}</script>\n<script>{script}</script>\n</body>\n</html>\n"
    )


@cache
def _page(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """No network, and no script but ours; plots have styles in attributes."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(details: Mapping[str, str]) -> str:
    """JSON that cannot end the element that it stands in."""
    texts = {key: visible(text) for key, text in details.items()}
    return json.dumps(texts, separators=(",", ":")).replace("<", "\\u003c")


def escape(text: str) -> str:
    """Text that a browser shows as it is."""
    return escape_html(visible(text))


class _HtmlWriter(Writer):
    def __init__(self, details: Mapping[str, str]) -> None:
        heads = {key: text.partition("\n")[0] for key, text in details.items()}
        self._titles = {key: escape(head) for key, head in heads.items()}

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
        keys = table.keys or [""] * len(table.rows)
        rows = "\n".join(
            f"<tr{_attribute('data-key', key)}>{_row(row, classes)}</tr>"
            for row, key in zip(table.rows, keys, strict=True)
        )
        # Texts alone, e.g. settings, stand in the order in which they are read.
        kind = "sorts" if "right" in table.alignment and len(table.rows) > 1 else ""
        notes = "".join(f'\n<p class="note">{escape(note)}</p>' for note in table.notes)
        return (
            f'<div class="scroll"><table{_attribute("class", kind)}>\n'
            f"<caption><span>{escape(table.caption)}</span></caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>{notes}"
        )

    def figure(self, figure: Figure) -> str:
        # The SVG is ours: texts of the user were escaped when it was drawn.
        svg, caption = titled(figure.svg, self._titles), escape(figure.caption)
        plot = f'<div class="plot">{svg}</div>'
        return f"<figure>\n{plot}\n<figcaption>{caption}</figcaption>\n</figure>"


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(value)}"' if value else ""


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
