"""A report as a LaTeX file with booktabs tables, to be compiled or to take a table from."""

from orchestrator.report.document import (
    Block,
    Document,
    Figure,
    Heading,
    Listing,
    Paragraph,
    Table,
)

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
    "\u2013": "--",
    "\n": " ",
}
# Beyond these pdflatex without more packages has no letters.
_LAST_LETTER = 0xFF

_PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=18mm]{geometry}
\usepackage{booktabs}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\setlength{\tabcolsep}{4pt}
\begin{document}
"""


def render_latex(document: Document) -> str:
    """The document as one file; figures are in the HTML report only."""
    title = rf"{{\Large\bfseries {escape(document.title)}}}"
    parts = [title, escape(document.subtitle), *(_block(one) for one in document.blocks)]
    return f"{_PREAMBLE}\n" + "\n\n".join(part for part in parts if part) + "\n\\end{document}\n"


def escape(text: str) -> str:
    """Text without anything that LaTeX would take for its own; letters it lacks become `?`."""
    return "".join(_SPECIAL.get(one) or (one if ord(one) <= _LAST_LETTER else "?") for one in text)


def _block(block: Block) -> str:
    match block:
        case Heading():
            return rf"\section*{{{escape(block.text)}}}"
        case Paragraph():
            text = escape(block.text)
            return rf"\textbf{{{text}}}" if block.is_lead or block.is_warning else text
        case Listing():
            return _listing(block)
        case Table():
            return _table(block)
        case Figure():
            return ""


def _listing(block: Listing) -> str:
    lines = [rf"\mbox{{{_spaced(line)}}}" for line in block.text.splitlines()]
    return r"{\small\ttfamily\raggedright " + "\\\\\n".join(lines) + r"\par}"


def _spaced(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return r"\ " * indent + escape(line.lstrip(" "))


def _table(table: Table) -> str:
    columns = "".join("l" if side == "left" else "r" for side in table.alignment)
    head = " & ".join(escape(one) for one in table.columns)
    rows = "\n".join(" & ".join(escape(one) for one in row) + r" \\" for row in table.rows)
    notes = "\n\n".join(rf"{{\footnotesize {escape(note)}\par}}" for note in table.notes)
    return (
        rf"\textbf{{{escape(table.caption)}}}"
        "\n\n{\\footnotesize\n"
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}"
        "\n\\toprule\n"
        rf"{head} \\"
        "\n\\midrule\n"
        f"{rows}\n\\bottomrule\n\\end{{tabular}}\\par}}\n\n{notes}"
    )
