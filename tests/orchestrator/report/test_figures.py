"""Plots of a report: rows that can be told apart, and which sweeps have which."""

from dataclasses import replace

import pytest

from orchestrator.report.build import build
from orchestrator.report.document import Figure
from orchestrator.report.drawing import look
from orchestrator.report.findings import Findings
from orchestrator.report.publishing import report
from orchestrator.report.row_figures import learning_figures
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run

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
    return [one for one in build(found).blocks if isinstance(one, Figure)]


def test_49_rows_are_told_apart() -> None:
    looks = {(look(k)["color"], look(k)["marker"]) for k in range(49)}
    assert len(looks) == 49


@pytest.mark.parametrize("kind", ["ladder", "search"])
def test_cost_and_collapse_are_drawn_for_every_sweep(
    kind: str, request: pytest.FixtureRequest
) -> None:
    found: Findings = request.getfixturevalue(kind)
    captions = [one.caption for one in figures_of(found)]
    what = {"ladder": "run", "search": "trial"}[kind]
    assert f"val/SumR against what each {what} cost." in captions
    assert f"val/SumR against collapse, a point each {what}, at its best epoch." in captions


def test_each_row_is_in_the_legend_of_both(ladder: Findings) -> None:
    both = [one.svg for one in figures_of(ladder) if "against" in one.caption]
    assert [one.count(">better<") for one in both] == [1, 1]


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
    short = replace(row.runs[0], rows=row.runs[0].rows[:2])
    cut = replace(row, runs=(short, *row.runs[1:]))
    (figure,) = learning_figures([baseline, cut, last], "val/SumR")
    assert isinstance(figure, Figure)
    ends = " A curve ends with the shortest run of its row: better after 2 of 3 epochs."
    assert figure.caption.endswith(ends)
