"""The part of a report about costs: front, knee, limits, and everything that names the winner."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from orchestrator.report import drawing
from orchestrator.report.answer import answer
from orchestrator.report.build import build
from orchestrator.report.document import Figure, Table
from orchestrator.report.findings import Findings
from orchestrator.report.formats import FORMATS
from orchestrator.report.front_figures import _Reached, front_figure
from orchestrator.report.publishing import render, report
from orchestrator.report.winner_baseline import opponents
from orchestrator.study.trial import TrialState, TrialSummary
from tests.orchestrator.report.sweeps import COSTLY, run
from tests.orchestrator.report.test_figures import contains, outlines

BYTES = "cost/bytes_per_video"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("costly")
    run(home, COSTLY, function="costly")
    return home


@pytest.fixture(scope="module")
def found(home: Path) -> Findings:
    return report(home, "small")


def test_the_winner_is_the_knee_and_is_said_to_be(found: Findings) -> None:
    front = found.front
    assert front is not None
    assert front.knee is not None
    assert found.winner == front.knee == front.crowned
    assert found.winner.value != max(member.value or 0 for member in front.members)
    number = found.winner.number
    wins = f"the knee of {len(front.members)} trials within the limits that no other one beats"
    assert answer(found).startswith(f"Trial {number} wins, {wins}: val/SumR ")
    page = render(found, "md")
    assert f"Trial {number} is crowned: {wins}." in page
    assert f"of {found.winner.epochs}. It won as {wins}. It costs 6," in page
    assert f"prvr-sweep reproduce small/{number}" in page
    sides = opponents(found.data)
    assert sides is not None
    assert (sides.winner, sides.runs) == ("the knee", (found.winner,))
    assert sides.others[0].number == front.members[0].number


def test_a_knee_is_no_best_of_all_epochs(found: Findings) -> None:
    assert found.selection is not None
    assert found.winner is not None
    assert found.selection.candidates == found.winner.epochs
    assert "Its epoch is the best of 2: on new videos" in answer(found)


def test_what_exceeds_a_limit_is_told_and_never_crowned(found: Findings) -> None:
    front = found.front
    assert front is not None
    assert front.untrained
    assert front.exceeding
    slow = {trial.number for trial in front.exceeding}
    assert all(trial.costs["cost/train_s"] == 80 for trial in front.exceeding)
    page, title = render(found, "md"), build(found).subtitle
    assert f"{len(front.untrained)} over a limit" in title
    assert f"{len(front.untrained)} of {len(found.data.runs)} trials exceed them" in page
    assert f"not crowned: {', '.join(map(str, sorted(slow)))}." in page
    assert slow.isdisjoint(trial.number for trial in front.members)
    assert found.search is not None
    assert slow.isdisjoint(trial.number for trial in found.search.best)


def test_the_front_is_a_table_whose_rows_find_their_marks(found: Findings) -> None:
    blocks = build(found).blocks
    (table,) = [
        block for block in blocks if isinstance(block, Table) and "The front" in block.caption
    ]
    assert found.front is not None
    members = found.front.members
    assert list(table.keys) == [f"t{trial.number}" for trial in members]
    assert table.columns[:3] == ("trial", "val/SumR", "bytes per video")
    assert [row[-1] for row in table.rows].count("crowned, knee") == 1
    captions = [block.caption for block in blocks if isinstance(block, Figure)]
    assert sum(caption.startswith("val/SumR against bytes per video,") for caption in captions) == 1
    assert sum(caption.startswith("val/SumR against s of training,") for caption in captions) == 1


@pytest.mark.usefixtures("drawn_figures")
def test_every_trial_has_a_mark_of_its_own(found: Findings) -> None:
    assert found.front is not None
    svg = front_figure(found.data, found.front, BYTES)
    marks = [f'data-key="t{run_.trial.number}"' for run_ in found.data.runs]
    assert all(mark in svg for mark in marks)
    # Members of the front have a ring too.
    rings = [svg.count(f'data-key="t{trial.number}"') for trial in found.front.members]
    assert rings == [2] * len(rings)


def test_every_format_has_it(found: Findings) -> None:
    for wanted in FORMATS:
        text = render(found, wanted)
        if wanted == "json":
            assert found.front is not None
            numbers = json.loads(text)["front"]
            assert numbers["crowned"] == numbers["knee"] == json.loads(text)["winner"]["number"]
            assert len(numbers["over_limit"]) == len(
                (*found.front.untrained, *found.front.exceeding)
            )
        else:
            assert "The front: trials that no other one beats" in text


@pytest.mark.usefixtures("drawn_figures")
def test_texts_of_the_figures_do_not_overlap(found: Findings) -> None:
    canvases: list[Canvas] = []

    def backend(canvas: Canvas) -> FigureCanvasSVG:
        canvases.append(canvas)
        return FigureCanvasSVG(canvas)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "FigureCanvasSVG", backend)
        assert found.front is not None
        for cost in found.front.goals.costs:
            assert front_figure(found.data, found.front, cost)
    assert len(canvases) == 2
    for canvas in canvases:
        shown = outlines(canvas)
        assert any(re.fullmatch(r"crowned, knee: \d+", text) for text, _ in shown)
        pairs = combinations(shown, 2)
        assert [(a, b) for (a, box), (b, other) in pairs if box.intersects_path(other)] == []
        inside = canvas.bbox.padded(1)
        assert [text for text, box in shown if not contains(inside, box)] == []


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12),
    st.sampled_from([1, -1]),
)
def test_the_line_is_the_best_that_so_much_buys(pairs: list[tuple[int, int]], sign: int) -> None:
    trials = [
        TrialSummary(k, TrialState.COMPLETE, {}, float(value), 1, 1, "", "",
                     costs={BYTES: float(cost)})
        for k, (cost, value) in enumerate(pairs)
    ]  # fmt: skip
    costs, values = _Reached(BYTES, sign, 10.0).line(trials)
    for cost in range(1, 11):
        bought = [sign * value for own, value in pairs if own <= cost]
        steps = np.flatnonzero(costs <= cost)
        assert len(steps) == 0 if not bought else sign * values[steps[-1]] == max(bought)
    assert sign * values[0] == max(sign * value for own, value in pairs if own == costs[0])


def test_a_sweep_all_of_whose_trials_exceed_a_limit_has_a_report(tmp_path: Path) -> None:
    run(tmp_path, COSTLY, "limits={cost/train_s: 1}", "search.trials=3", function="costly")
    found = report(tmp_path, "small")
    assert found.winner is None
    for wanted in FORMATS:
        assert "No complete trial is within the limits: there is no answer" in render(found, wanted)


def test_limits_alone_crown_the_best_within_them(tmp_path: Path) -> None:
    alone = ("objectives=[]", "crown=best", "objective.metric=val/SumR")
    run(tmp_path, COSTLY, *alone, "limits={cost/train_s: 50}", function="costly")
    found = report(tmp_path, "small")
    assert found.front is not None
    assert found.winner is not None
    assert found.front.members == ()
    within = [run_.trial for run_ in found.data.complete() if run_.trial.costs["cost/train_s"] < 50]
    assert found.winner.value == max(trial.value or 0 for trial in within)
    assert f"Trial {found.winner.number} wins, the best within the limits: " in answer(found)
    assert front_figure(found.data, found.front, "cost/train_s")
