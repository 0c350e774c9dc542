"""Texts that a format would take for its own: they are shown, and hurt nothing around them."""

from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.report.document import Document, Listing, Paragraph, Table
from orchestrator.report.formatting import visible
from orchestrator.report.html import render_html
from orchestrator.report.latex import escape, render_latex
from orchestrator.report.markdown import render_markdown
from tests.orchestrator.report.latex_compiler import compiled

LATIN = " ".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x100))))
COLOURED = "\x1b[31mValueError\x1b[0m: bell\x07, null\x00, next\x85, half\ud800"
LONG = "not shown (a difference of this size needs about 1200 seeds at power 0.8), " * 3
PATH = "sqlite:////" + "/".join(f"folder-{k:02d}" for k in range(30))


def document(*rows: tuple[str, str]) -> Document:
    table = Table("[caption]", ("[head]", "*"), rows, align=("left", "left"), notes=("[note]",))
    listing = Listing(f"[a]\n\n  *\n{COLOURED}\n\tindented --flag ---\n{LONG}\n{PATH}")
    return Document("[title]", "*", (Paragraph(COLOURED), table, listing))


ROWS = (("[2mm]", "*"), ("*", "[x]"), (LATIN, "a"), ("a|b", "c\\|d"), (COLOURED, LONG), ("u", PATH))


def test_controls_are_dropped_and_lines_stay() -> None:
    assert visible(COLOURED) == "ValueError: bell, null, next, half"
    assert visible("a\n\tb\r\n") == "a\n\tb\n"


@pytest.mark.parametrize("make", [render_html, render_latex, render_markdown])
def test_no_format_holds_a_control_character(make: object) -> None:
    assert callable(make)
    text = make(document(*ROWS))
    text.encode()
    assert [
        letter for letter in text if not letter.isprintable() and letter not in "\n\t\xa0\xad"
    ] == []
    assert "ValueError: bell, null, next, half" in text


def test_a_row_of_latex_never_begins_with_an_argument() -> None:
    text = render_latex(document(*ROWS))
    before = ("\\\\", "\\toprule", "\\midrule", "\\bottomrule")
    lines = text.splitlines()
    after = [line for previous, line in pairwise(lines) if previous.endswith(before)]
    assert [line for line in after if line.startswith(("[", "*"))] == []
    assert "{}[2mm] & * \\\\" in lines


def test_hyphens_stay_hyphens_in_latex() -> None:
    assert escape("--flag ---") == "-{}-flag -{}-{}-"


def test_long_texts_are_broken_into_lines_and_short_ones_are_not() -> None:
    short, wide = document(("a", "b")), document(("a", LONG))
    assert "\\begin{tabular}{@{}ll@{}}" in render_latex(short)
    text = render_latex(wide)
    assert "\\begin{tabular}{@{}l>{\\raggedright\\arraybackslash}p{" in text
    assert 'class="left long"' in render_html(wide)
    assert 'class="left long"' not in render_html(short)


def test_several_long_columns_share_the_page() -> None:
    table = Table("t", ("a", "b", "n"), [(LONG, LONG, "1")], align=("left", "left", "right"))
    text = render_latex(Document("t", "s", (table,)))
    widths = [int(column.partition("mm")[0]) for column in text.split("p{")[1:]]
    assert len(widths) == 2
    assert 200 < sum(widths) < 261


def test_a_table_of_many_rows_goes_on_over_the_page() -> None:
    few, many = (render_latex(document(*[("a", "b")] * count)) for count in (20, 60))
    assert "longtable}[l]" not in few
    assert "\\begin{longtable}[l]{@{}ll@{}}\n" in many
    assert "\\midrule\n\\endhead\n{}a & b" in many


def test_a_pipe_after_a_backslash_stays_in_its_cell() -> None:
    text = render_markdown(document(("a|b", "c\\|d"), ("line\nbreak", "[x](javascript:y) *z*")))
    assert "| a\\|b " in text
    assert "| c\\\\\\|d " in text
    assert "| line break " in text
    assert "[x]\\(javascript:y) \\*z\\*" in text


def test_hostile_latex_compiles_within_the_page(tmp_path: Path) -> None:
    said = compiled(render_latex(document(*ROWS)), tmp_path)
    assert "Overfull \\hbox" not in said
