"""Rows of an ablation as `status` shows them."""

from pathlib import Path

import pytest

from orchestrator.commands.status_text import render_status, row_lines
from orchestrator.spec.loading import read_spec
from orchestrator.sweep.status import RowStatus, read_status
from tests.orchestrator.helpers import small_spec
from tests.orchestrator.sweep.test_rounds import CONFIRM, RACE, Dying, KilledError, run


def test_rows_say_how_far_they_are(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(tmp_path, read_spec(RACE), "ranked", progress=Dying(4))
    status = read_status(tmp_path, "small")
    assert [(row.name, row.planned, row.complete, row.running) for row in status.rows] == [
        ("baseline", 2, 2, 0),
        ("alike", 2, 1, 1),
        ("worse", 2, 1, 0),
    ]
    assert status.num_trials == 6
    first, *lines = row_lines(status.rows, status.metric)
    assert first.split() == ["variant", "runs", "failed", "val/SumR", "sd"]
    assert lines[0].split()[:3] == ["baseline", "2/2", "0"]
    assert lines[2].split()[4] == "-"
    assert "baseline" in render_status(status)
    assert status.to_dict()["rows"][1]["complete"] == 1


def test_a_row_without_runs_has_no_mean() -> None:
    row = RowStatus("TCPL", 3, 0, 1, 0, None, None)
    assert row_lines([row], "val/SumR")[1].split() == ["TCPL", "0/3", "1", "-", "-"]
    assert row_lines([], "val/SumR") == []


def test_more_seeds_of_a_race_count_as_asked_for(tmp_path: Path) -> None:
    run(tmp_path, read_spec(RACE), "ranked")
    status = read_status(tmp_path, "small")
    assert (status.num_trials, len(status.trials)) == (12, 12)
    assert "to come" not in render_status(status)


def test_a_confirmation_is_shown_with_both_values(tmp_path: Path) -> None:
    run(tmp_path, small_spec(*CONFIRM), "lucky")
    status = read_status(tmp_path, "small")
    lines = render_status(status).splitlines()
    assert status.num_trials == len(status.trials) == 11
    begin = next(k for k, line in enumerate(lines) if line.startswith("confirmed on fresh seeds"))
    assert lines[begin + 1] == "  trial 3: 70 ± 0 in 3 runs, 70 in the search; crowned"
    assert lines[begin + 2] == (
        "  trial 4: 61.25 ± 0 in 3 runs, 78.75 in the search; best of the search"
    )
    assert [one["trial"] for one in status.to_dict()["confirmed"]] == [3, 4]
