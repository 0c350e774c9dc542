"""A sweep within its budget: what is spent, when no further trial is begun, and going on."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.budget import spent
from orchestrator.progress import SilentProgress
from orchestrator.spec_changes import extensions, spec_changes
from orchestrator.status import read_status
from orchestrator.study import StudyReader, study_url
from orchestrator.sweep import SweepResult, run_sweep
from orchestrator.trial import TrialState
from orchestrator.trial_events import Told
from tests.sweep.helpers import FINGERPRINT, small_spec
from tests.sweep.spec_texts import problem_of


class Warned(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def run(home: Path, *overrides: str, function: str = "hourly", **options: Any) -> SweepResult:  # noqa: ANN401
    return run_sweep(
        small_spec(*overrides),
        Path("/store"),
        FINGERPRINT,
        home,
        executor="inline",
        function=f"tests.sweep.fake_trials:{function}",
        **options,
    )


def num_complete(result: SweepResult) -> int:
    return result.counts[TrialState.COMPLETE]


def test_hours_of_gpus_are_those_of_all_trials(tmp_path: Path) -> None:
    progress = Warned()
    result = run(tmp_path, "resources.gpus=1", "budget.gpu_hours=10", progress=progress)
    # Three epochs of an hour each; a fourth trial would bring nine hours to twelve.
    assert num_complete(result) == 3
    assert not result.interrupted
    (line,) = progress.lines
    assert line == (
        "budget: 9 of 10 GPU-hours are spent, and another trial would bring them to 12; no "
        "further trial is begun"
    )
    text = read_status(tmp_path, "small").render()
    assert "small: finished; 3 complete, 3 to come" in text
    assert "ended by its budget: 9 of 10 GPU-hours are spent" in text


def test_half_a_gpu_costs_half(tmp_path: Path) -> None:
    assert num_complete(run(tmp_path, "resources.gpus=0.5", "budget.gpu_hours=7.6")) == 5


def test_hours_in_which_trials_run_together_count_once(tmp_path: Path) -> None:
    # By their timestamps all begin at the same moment.
    run(tmp_path, "search.trials=2")
    study = StudyReader.open(study_url(tmp_path), "small")
    assert spent(small_spec(), study).wall_hours == pytest.approx(3, rel=1e-2)
    result = run(tmp_path / "other", "budget.wall_hours=5")
    assert num_complete(result) == 1


def test_a_sweep_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    assert num_complete(run(tmp_path, "budget.trials=2")) == 2
    result = run(tmp_path, "budget.trials=5", told=Told())
    assert num_complete(result) == 5
    assert num_complete(run(tmp_path, "budget.trials=null", told=Told())) == 6
    assert "budget" not in read_status(tmp_path, "small").render()


def test_no_round_begins_beyond_the_budget(tmp_path: Path) -> None:
    result = run(tmp_path, "budget.trials=7", "confirm={top: 2, seeds: 2}")
    assert num_complete(result) == 7


def test_a_clock_that_goes_back_breaks_nothing(tmp_path: Path) -> None:
    assert num_complete(run(tmp_path, "budget.wall_hours=5", function="backwards")) == 6


def test_gpu_hours_need_gpus() -> None:
    assert "needs resources.gpus above 0" in problem_of("budget.gpu_hours=3")


def test_another_budget_is_an_extension() -> None:
    there = small_spec("budget.gpu_hours=4", "resources.gpus=1").dump_yaml()
    changes = spec_changes(there, small_spec("budget.gpu_hours=8", "resources.gpus=1"))
    assert extensions(changes) == "--budget gpu_hours=8.0"
