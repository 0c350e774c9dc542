"""Writes a document in the formats that a user may ask for."""

from typing import Literal, TypeAlias, get_args

from orchestrator.report.document import Document
from orchestrator.report.html import render_html
from orchestrator.report.latex import render_latex
from orchestrator.report.markdown import render_markdown

Format: TypeAlias = Literal["md", "tex", "html", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)


def render_document(document: Document, wanted: Format) -> str:
    """A document as text; `json`, which is made of numbers, not of a document, is none of them."""
    assert wanted != "json", "numbers are no document"
    writers = {"html": render_html, "tex": render_latex, "md": render_markdown}
    return writers[wanted](document)
