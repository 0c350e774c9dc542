"""A report as a LaTeX file with booktabs tables, to compile or to copy a table from."""

import re
from collections.abc import Sequence

from orchestrator.report.document import Document, Figure, Paragraph, Table, Writer
from orchestrator.report.formatting import visible

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\u00b1": r"$\pm$",
    "\u2212": r"$-$",
    "\u2013": r"\textendash{}",
    "\n": " ",
    "\t": " ",
}
# The last letter that pdflatex has without more packages.
_LAST_LETTER = 0xFF
# Mean width of a letter of \footnotesize, and how many of them fit across the page of the preamble.
_LETTER_MM = 1.6
_PAGE_LETTERS = 163
# Rows of a table that is kept on one page.
_MOST_TOGETHER = 20
# Gap between two columns, and least width of a column of long texts, in letters.
_GAP = 2
_NARROWEST = 25

_PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=18mm]{geometry}
\usepackage{array}
\usepackage{booktabs}
\usepackage{longtable}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\setlength{\tabcolsep}{4pt}
\begin{document}
"""


def render_latex(document: Document) -> str:
    """The document as one file; figures are in the HTML report only."""
    writer = _LatexWriter()
    title = rf"{{\Large\bfseries {escape(document.title)}}}"
    parts = [title, escape(document.subtitle), *map(writer.write, document.blocks)]
    return f"{_PREAMBLE}\n" + "\n\n".join(part for part in parts if part) + "\n\\end{document}\n"


def escape(text: str) -> str:
    """Text with LaTeX's special characters escaped; letters that it lacks become `?`."""
    kept = (c if c in _SPECIAL or ord(c) <= _LAST_LETTER else "?" for c in visible(text))
    # LaTeX would print two hyphens as one dash.
    return re.sub("-(?=-)", "-{}", "".join(_SPECIAL.get(c, c) for c in kept))


class _LatexWriter(Writer):
    def heading(self, text: str) -> str:
        return rf"\section*{{{escape(text)}}}"

    def paragraph(self, paragraph: Paragraph) -> str:
        text = escape(paragraph.text)
        return rf"\textbf{{{text}}}" if paragraph.is_lead or paragraph.is_warning else text

    def listing(self, text: str) -> str:
        lines = [rf"\strut{{}}{_indented(line)}" for line in text.splitlines()]
        return r"{\small\ttfamily\raggedright " + "\\\\\n".join(lines) + r"\par}"

    def table(self, table: Table) -> str:
        rows = "\n".join(_row(row) for row in table.rows)
        notes = "\n\n".join(rf"{{\footnotesize {escape(note)}\par}}" for note in table.notes)
        is_long = len(table.rows) > _MOST_TOGETHER
        kind, side, head_end = (
            ("longtable", "[l]", "\n\\endhead") if is_long else ("tabular", "", "")
        )
        return (
            rf"\textbf{{{escape(table.caption)}}}\par\nopagebreak"
            "\n{\\footnotesize\n"
            rf"\begin{{{kind}}}{side}{{@{{}}{_column_types(table)}@{{}}}}"
            "\n\\toprule\n"
            f"{_row(table.columns)}"
            f"\n\\midrule{head_end}\n"
            f"{rows}\n\\bottomrule\n\\end{{{kind}}}\\par}}\n\n{notes}"
        )

    def figure(self, figure: Figure) -> str:
        return ""


def _indented(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return r"\ " * indent + _breakable(line.lstrip(" "))


def _breakable(text: str) -> str:
    """Escaped text whose paths may be broken into lines."""
    return escape(text).replace("/", r"/\allowbreak{}")


def _row(cells: Sequence[str]) -> str:
    """A row; the braces keep a first cell such as `[a]` or `*` from being an argument."""
    return "{}" + " & ".join(_breakable(cell) for cell in cells) + r" \\"


def _column_types(table: Table) -> str:
    """LaTeX's type of each column: its side, or a width in which long texts wrap."""
    sides = {"left": "l", "right": "r"}
    wrapped = rf">{{\raggedright\arraybackslash}}p{{{_width_mm(table)}mm}}"
    pairs = zip(table.alignment, table.wraps, strict=True)
    return "".join(wrapped if is_long else sides[side] for side, is_long in pairs)


def _width_mm(table: Table) -> int:
    """Width of a column of long texts: its share of the page width that the others leave."""
    cells = zip(table.columns, *table.rows, strict=True)
    lengths = [
        (max(map(len, column)), is_long) for column, is_long in zip(cells, table.wraps, strict=True)
    ]
    longest = [length for length, is_long in lengths if is_long] or [0]
    others = sum(length + _GAP for length, is_long in lengths if not is_long)
    share = (_PAGE_LETTERS - others) // len(longest) - _GAP
    return round(_LETTER_MM * min(max(longest), max(_NARROWEST, share)))
