"""Plots of a report: texts that can be read, rows that differ, and which sweeps have which."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, BboxBase

from orchestrator.report import drawing
from orchestrator.report.ablation_figures import learning_figures
from orchestrator.report.build import build
from orchestrator.report.document import Figure
from orchestrator.report.drawing import MOST_TICKS, log_ticks, look, styled
from orchestrator.report.findings import Findings
from orchestrator.report.publishing import report
from tests.orchestrator.report.sweeps import EIGHT, LADDER, SEARCH, run

pytestmark = pytest.mark.usefixtures("real_figures")

MANY = """\
ablation={design: swap, seeds: 2, variants: {%s}}
"""


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    home = tmp_path_factory.mktemp("ladder")
    run(home, LADDER, "ablation.seeds=2")
    return report(home, "small")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    home = tmp_path_factory.mktemp("search")
    run(home, SEARCH, "search.trials=6")
    return report(home, "small")


def figures_of(found: Findings) -> list[Figure]:
    return [block for block in build(found).blocks if isinstance(block, Figure)]


def test_49_rows_are_told_apart() -> None:
    looks = {(look(k)["color"], look(k)["marker"]) for k in range(49)}
    assert len(looks) == 49


@pytest.mark.parametrize("kind", ["ladder", "search"])
def test_cost_and_collapse_are_drawn_for_every_sweep(
    kind: str, request: pytest.FixtureRequest
) -> None:
    found: Findings = request.getfixturevalue(kind)
    captions = [figure.caption for figure in figures_of(found)]
    what = {"ladder": "run", "search": "trial"}[kind]
    assert f"val/SumR against what each {what} cost." in captions
    assert f"val/SumR against collapse, a point each {what}, at its best epoch." in captions


def test_each_row_is_in_the_legend_of_both(ladder: Findings) -> None:
    both = [
        figure.svg
        for figure in figures_of(ladder)
        if "against what" in figure.caption or "against collapse" in figure.caption
    ]
    assert [svg.count(">better<") for svg in both] == [1, 1]


def test_a_long_legend_lies_below_the_axes(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("many")
    rows = ", ".join(f"row {k}: {{losses.tau: 0.{k}}}" for k in range(10, 22))
    run(home, LADDER, MANY % rows)
    found = report(home, "small")
    assert found.ablation is not None
    assert len(found.ablation.rows) == 13
    (curves,) = learning_figures(found.ablation.rows, "val/SumR")
    assert isinstance(curves, Figure)
    assert all(f">row {k}<" in curves.svg for k in range(10, 22))


def test_curves_that_are_cut_are_named(ladder: Findings) -> None:
    assert ladder.ablation is not None
    (figure,) = learning_figures(ladder.ablation.rows, "val/SumR")
    assert isinstance(figure, Figure)
    assert "A curve ends" not in figure.caption
    baseline, row, last = ladder.ablation.rows
    short = replace(row.runs[0], epochs=row.runs[0].epochs[:2])
    cut = replace(row, runs=(short, *row.runs[1:]))
    (figure,) = learning_figures([baseline, cut, last], "val/SumR")
    assert isinstance(figure, Figure)
    ends = " A curve ends with the shortest run of its row: better after 2 of 3 epochs."
    assert figure.caption.endswith(ends)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Figure], list[Canvas]]:
    """Figures of a search of eight parameters, and what they were drawn from."""
    home = tmp_path_factory.mktemp("eight")
    run(home, EIGHT)
    canvases: list[Canvas] = []

    def backend(canvas: Canvas) -> FigureCanvasSVG:
        canvases.append(canvas)
        return FigureCanvasSVG(canvas)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "FigureCanvasSVG", backend)
        figures = figures_of(report(home, "small"))
    return figures, canvases


def test_no_figure_shows_the_source_of_a_formula(
    eight: tuple[list[Figure], list[Canvas]], ladder: Findings
) -> None:
    figures = eight[0] + figures_of(ladder)
    assert len(figures) == 12
    assert [figure.caption for figure in figures if re.search(r"\\math|\$", figure.svg)] == []
    (slices,) = (figure.svg for figure in figures if figure.caption.startswith("Each parameter"))
    for label in ("1e-5", "0.0001", "0.01", "0.05", "0.1", "10", "50", "adaptive"):
        assert f">{label}</text>" in slices
    (lines,) = (figure.svg for figure in figures if figure.caption.startswith("All parameters"))
    for end in ("4", "60", "0.025", "0.4", "1e-5", "0.01", "16", "48", "fixed", "adaptive"):
        assert f">{end}</text>" in lines


def test_the_texts_of_a_figure_do_not_overlap(eight: tuple[list[Figure], list[Canvas]]) -> None:
    figures, canvases = eight
    assert len(figures) == len(canvases) == 7
    for figure, canvas in zip(figures, canvases, strict=True):
        shown = outlines(canvas)
        assert len(shown) > 8
        pairs = combinations(shown, 2)
        hidden = [(a, b) for (a, box), (b, other) in pairs if box.intersects_path(other)]
        assert hidden == [], figure.caption
        inside = canvas.bbox.padded(1)
        assert [text for text, box in shown if not contains(inside, box)] == [], figure.caption


def contains(inside: BboxBase, box: Outline) -> bool:
    return all(inside.contains(*corner) for corner in box.vertices)


def outlines(canvas: Canvas) -> list[tuple[str, Outline]]:
    """Every text of a figure that is shown, with the outline of its box."""
    with styled():
        renderer = FigureCanvasAgg(canvas).get_renderer()
        canvas.draw(renderer)
    texts = [canvas._supylabel] if getattr(canvas, "_supylabel", None) else []
    for axes in canvas.axes:
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        texts += [*ticks_of(axes.xaxis, 0), *ticks_of(axes.yaxis, 1)]
    shown = [text for text in texts if text.get_visible() and text.get_text()]
    return [(text.get_text(), outline(text, renderer)) for text in shown]


def ticks_of(axis: Axis, side: int) -> Iterator[Text]:
    low, high = sorted(axis.get_view_interval())
    labels = axis.get_majorticklabels()
    yield from (label for label in labels if low <= label.get_position()[side] <= high)


def outline(text: Text, renderer: RendererBase) -> Outline:
    """The box of a text; of a slanted one the box is turned about its anchor, as it is drawn."""
    degrees = text.get_rotation() % 90
    anchor = text.get_transform().transform(text.get_position())
    if degrees:
        assert text.get_rotation_mode() == "anchor"
        text.set_rotation(0)
    box = text.get_window_extent(renderer)
    corners = np.array([[box.x0, box.y0], [box.x1, box.y0], [box.x1, box.y1], [box.x0, box.y1]])
    if degrees:
        text.set_rotation(degrees)
        corners = Affine2D().rotate_deg_around(*anchor, degrees).transform(corners)
    return Outline([*corners, corners[0]])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (4, 60, [5, 10, 20, 50]),
        (1e-5, 1e-2, [1e-5, 1e-4, 1e-3, 1e-2]),
        (0.025, 0.4, [0.05, 0.1, 0.2]),
        (3, 4, [3, 4]),
        (7, 7, [7]),
        (1e-12, 1, [1e-12, 1e-9, 1e-6, 1e-3, 1]),
    ],
)
def test_logarithmic_ticks_are_few_and_round(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == ticks


@pytest.mark.parametrize("decades", range(1, 40))
def test_a_logarithmic_axis_of_any_length_has_ticks(decades: int) -> None:
    assert 2 <= len(log_ticks(3.0, 3.0 * 10**decades)) <= MOST_TICKS


def test_many_long_names_of_categories_are_slanted_and_cut(tmp_path: Path) -> None:
    canvas = drawing.new_canvas(3)
    with styled():
        axes = canvas.add_subplot(1, 3, 1)
        names = [f"$a_{k}$ {'long ' * 9}" for k in range(30)]
        axes.plot(range(30), range(30))
        drawing.name_ticks(axes, names, 2.5)
    shown = [(text, box) for text, box in outlines(canvas) if "long" in text]
    assert 4 < len(shown) < 10
    assert shown[0][0] == "$a_0$ long long long lo…"
    pairs = combinations(shown, 2)
    assert [(a, b) for (a, box), (b, other) in pairs if box.intersects_path(other)] == []
