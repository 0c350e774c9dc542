"""Tables of a report: what they are named after, what they count, how they are labelled."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.report.build import build
from orchestrator.report.comparison_blocks import comparison_blocks
from orchestrator.report.document import Block, Table
from orchestrator.report.findings import Findings
from orchestrator.report.formatting import hours
from orchestrator.report.numbers import report_numbers
from orchestrator.report.publishing import render, report
from orchestrator.report.reading import read_sweep
from orchestrator.report.sweep_comparison import compare_sweeps
from orchestrator.statistics.comparison import Verdict
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run

CLASH = (
    "An interval may leave out 0 where the verdict says not shown: verdicts are corrected over all "
    "comparisons, intervals are not."
)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    home = tmp_path_factory.mktemp("ladder")
    run(home, LADDER)
    return report(home, "small")


def tables_of(found: Findings) -> dict[str, Table]:
    """Tables by the first words of their captions."""
    tables = [block for block in build(found).blocks if isinstance(block, Table)]
    return {table.caption.partition(":")[0].partition(" (")[0]: table for table in tables}


def cells(table: Table, row: str) -> dict[str, str]:
    """Cells of a row by the heads of their columns."""
    found = next(row_cells for row_cells in table.rows if row_cells[0] == row)
    return dict(zip(table.columns, found, strict=True))


def test_another_objective_names_its_differences_and_its_interval(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "objective.metric=val/R5", "ablation.seeds=3")
    found = report(tmp_path, "small")
    tables = tables_of(found)
    assert "Differences of R@5, paired by seed and video" in tables
    row = cells(tables["Recalls on validation"], "better")
    assert found.ablation is not None
    summary = found.ablation.rows[1].summary
    assert summary is not None
    assert summary.interval is not None
    low, high = map(float, row["95 % interval of R@5"].split(" to "))
    assert (low + high) / 2 == pytest.approx(float(row["R@5"].partition(" ")[0]), abs=0.11)


def test_the_objective_of_a_branch_has_no_differences_and_says_why(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "objective.metric=val/clip/SumR", "ablation.seeds=2")
    text = render(report(tmp_path, "small"), "md")
    assert (
        "Differences are computed for metrics of the fused scores only: clip SumR "
        "has means here, without intervals and verdicts."
    ) in text
    assert "95 % interval of clip SumR" in text


def test_branches_have_all_recalls_in_a_table_of_their_own(ladder: Findings) -> None:
    assert ladder.ablation is not None
    tables = tables_of(ladder)
    assert not {"clip SumR", "frame SumR"} & set(tables["Recalls on validation"].columns)
    table = tables["Recalls by branch"]
    assert table.columns == ("row", "branch", "R@1", "R@5", "R@10", "R@100", "SumR")
    assert [row[:2] for row in table.rows] == [
        [row.name, branch] for row in ladder.ablation.rows for branch in ("clip", "frame")
    ]
    values = ladder.ablation.rows[1].values("val/frame/R10")
    assert table.rows[3][4].startswith(f"{sum(values) / len(values):.1f} ±")


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        (
            LADDER,
            {"Differences of SumR, paired by seed and video", "Cost of every row",
             "Collapse diagnostics at the best epoch", "Recalls by branch"},
        ),
        (SEARCH, {"Complete trials, best first"}),
    ],
)  # fmt: skip
def test_the_protocol_is_in_the_caption_of_every_table(
    tmp_path: Path, text: str, captions: set[str]
) -> None:
    small = "ablation.seeds=2" if text == LADDER else "search.trials=6"
    run(tmp_path, text, "protocol=paper", small)
    run(tmp_path, text, "name=other", small)
    label = " (protocol paper: selected on this split)"
    tables = tables_of(report(tmp_path, "small", "other"))
    assert captions <= set(tables)
    assert "val/SumR of both sweeps" in tables
    assert [table.caption for table in tables.values() if not table.caption.endswith(label)] == []
    plain = tables_of(report(tmp_path, "other"))
    assert [table.caption for table in plain.values() if "protocol" in table.caption] == []


def test_the_protocol_of_the_other_sweep_is_on_what_compares_them(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "ablation.seeds=2")
    run(tmp_path, LADDER, "name=other", "protocol=paper", "ablation.seeds=2")
    tables = tables_of(report(tmp_path, "small", "other"))
    label = " (protocol paper: other was selected on this split)"
    assert tables["val/SumR of both sweeps"].caption.endswith(label)
    assert tables["What else differs"].caption.endswith(label)
    assert "protocol" not in tables["Cost of every row"].caption


def test_failed_runs_are_in_the_hours_of_their_row(tmp_path: Path) -> None:
    run(tmp_path, LADDER, function="failing")
    found = report(tmp_path, "small")
    assert found.ablation is not None
    row = found.ablation.rows[0]
    assert [run.seconds for run in (*row.runs, *row.others)] == [6.0] * 4
    table = tables_of(found)["Cost of every row"]
    assert [row_cells[2] for row_cells in table.rows] == [hours(4 * 6.0)] * 3
    assert "Hours include the finished epochs of failed and unfinished runs." in table.notes
    rows = report_numbers(found)["ablation"]["rows"]
    assert sum(len(row["other_runs"]) for row in rows) == 3


def test_unknown_seconds_of_a_run_are_named(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "ablation.seeds=2", function="failing")
    own = next(run for run in report(tmp_path, "small").data.runs if not run.is_complete)
    shutil.rmtree(own.trial.folder.removeprefix("file://"))
    table = tables_of(report(tmp_path, "small"))["Cost of every row"]
    missing = f"Hours lack these trials, whose seconds are not known: {own.trial.number}."
    assert missing in table.notes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),  # noqa: RUF001
        (0, "0"),
        (0.1, "< 0.001"),
        (6, "0.0017"),
        (3600 * 9.94, "9.9"),
        (3600 * 9.96, "10"),
        (3600 * 120, "120"),
        (3600 * 12345.6, "12,346"),
    ],
)
def test_hours_have_two_digits_below_ten_and_no_exponent(seconds: float | None, text: str) -> None:
    assert hours(seconds) == text


def test_an_interval_without_0_beside_not_shown_is_explained(ladder: Findings) -> None:
    assert ladder.ablation is not None
    assert ladder.ablation.table is not None
    table = ladder.ablation.table
    name = "Differences of SumR, paired by seed and video"
    assert CLASH not in tables_of(ladder)[name].notes
    real = table.of("better", "baseline")
    hidden = replace(real, verdict=Verdict.NOT_SHOWN, corrected_p=0.06)
    comparisons = tuple(
        hidden if comparison is real else comparison for comparison in table.comparisons
    )
    ablation = replace(ladder.ablation, table=replace(table, comparisons=comparisons))
    assert CLASH in tables_of(replace(ladder, ablation=ablation))[name].notes


def test_so_it_is_between_two_sweeps(tmp_path: Path) -> None:
    better = "ablation.baseline={set: {losses.margin: 0.3}}"
    run(tmp_path, LADDER, better, "ablation.variants={}")
    run(tmp_path, LADDER, "name=other", "ablation.variants={}")
    found = compare_sweeps(read_sweep(tmp_path, "small"), read_sweep(tmp_path, "other"))
    assert CLASH not in notes(list(comparison_blocks(found)))
    (pair,) = found.comparisons
    hidden = replace(found, comparisons=(replace(pair, verdict=Verdict.NOT_SHOWN),))
    assert CLASH in notes(list(comparison_blocks(hidden)))


def notes(blocks: list[Block]) -> list[str]:
    return [note for block in blocks if isinstance(block, Table) for note in block.notes]
