"""A report as a LaTeX file with booktabs tables, to compile or to copy a table from."""

import re
from collections.abc import Sequence

from orchestrator.report.document import Document, Figure, Paragraph, Table, Writer
from orchestrator.report.formatting import visible
from orchestrator.report.latex_columns import fitted

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
# Rows of a table that is kept on one page.
_MOST_TOGETHER = 20

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
        fit = fitted(table)
        rows = "\n".join(_row(row) for row in table.rows)
        notes = "\n\n".join(rf"{{\footnotesize {escape(note)}\par}}" for note in table.notes)
        is_long = len(table.rows) > _MOST_TOGETHER
        kind, side, head_end = (
            ("longtable", "[l]", "\n\\endhead") if is_long else ("tabular", "", "")
        )
        return (
            rf"\textbf{{{escape(table.caption)}}}\par\nopagebreak"
            f"\n{{\\{fit.size}\n"
            rf"\begin{{{kind}}}{side}{{@{{}}{fit.columns}@{{}}}}"
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
