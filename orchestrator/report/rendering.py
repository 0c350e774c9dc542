"""A sweep's report in a format, ready to be written."""

import json
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from orchestrator.report.build import build
from orchestrator.report.findings import Findings, find
from orchestrator.report.html import render_html
from orchestrator.report.latex import render_latex
from orchestrator.report.markdown import render_markdown
from orchestrator.report.numbers import report_numbers
from orchestrator.report.reading import read_sweep

Format: TypeAlias = Literal["md", "tex", "html", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)


def report(home: Path, sweep: str, other: str | None = None) -> Findings:
    """What a sweep found, also while it runs, and how another one of the home differs.

    Raises:
        SweepNotFoundError: There is no such sweep.
    """
    return find(read_sweep(home, sweep), None if other is None else read_sweep(home, other))


def render(findings: Findings, wanted: Format) -> str:
    """The report as text in one of the formats."""
    if wanted == "json":
        return json.dumps(report_numbers(findings), allow_nan=False) + "\n"
    document = build(findings)
    if wanted == "html":
        return render_html(document)
    return render_latex(document) if wanted == "tex" else render_markdown(document)
