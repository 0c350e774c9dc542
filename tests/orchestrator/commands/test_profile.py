"""`launch --profile`: where the time of a sweep went."""

import json
from pathlib import Path

import pytest

from orchestrator.commands.profile_text import render_profile
from tests.orchestrator.command_line import TINY_SPACE, prvr

PROFILE = {
    "wall_s": 40.0,
    "phases": {"imports": 5.0, "trials": 30.0, "rest": 5.0},
    "trials": {
        "at_once": 2,
        "first_epochs_s": 10.0,
        "later_epochs_s": 30.0,
        "evaluation_s": 14.0,
        "other_s": 6.0,
    },
}


def test_the_table() -> None:
    assert (
        render_profile(PROFILE)
        == """\
wall time                      40.0 s  100 %
  imports                       5.0 s   12 %
  trials                       30.0 s   75 %
  rest                          5.0 s   12 %
2 trials at once for 30.0 s: 60.0 s of trials
  training, first epochs       10.0 s   17 %
  training, later epochs       30.0 s   50 %
  evaluation                   14.0 s   23 %
  starts, checkpoints, gaps     6.0 s   10 %"""
    )


def test_without_a_trial_there_are_phases_alone() -> None:
    profile = {**PROFILE, "phases": {"imports": 40.0}, "trials": {"at_once": 0}}
    assert render_profile(profile).splitlines()[1:] == [
        "  imports                      40.0 s  100 %"
    ]


@pytest.mark.integration
def test_the_phases_of_a_sweep_add_up(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    options = ("--executor", "inline", "--profile", "--json")
    done = prvr("launch", "tiny.yaml", *options, cwd=tmp_path)
    assert done.code == 0, done.err
    profile = json.loads(done.out)["profile"]
    phases, trials = profile["phases"], profile["trials"]
    assert sum(phases.values()) == pytest.approx(profile["wall_s"])
    named = {"imports", "plan", "data", "first trial's start", "trials", "test scores", "report"}
    named |= {"waiting for MLflow", "registration", "rest"}
    assert phases.keys() == named
    assert trials["at_once"] == 1
    assert all(trials[key] > 0 for key in ("first_epochs_s", "later_epochs_s", "evaluation_s"))
    assert sum(trials.values()) - 1 == pytest.approx(phases["trials"])


def test_a_job_elsewhere_has_no_profile_here(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    done = prvr("launch", "tiny.yaml", "--profile", "--submit", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.code == 2
    assert "leave out --submit" in done.err
