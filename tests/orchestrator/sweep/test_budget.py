"""A sweep within its budget: what is spent, when no further trial begins, and resuming."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands.status_text import render_status
from orchestrator.spec.changes import extensions, spec_changes
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reader import OVER_BUDGET, StudyReader
from orchestrator.study.samplers import build_sampler
from orchestrator.study.study import Drawing, SweepStudy, study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.budget import BudgetGate, spent
from orchestrator.sweep.context import SafeSink
from orchestrator.sweep.driver import SweepDriver
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.run import SweepResult
from orchestrator.sweep.status import read_status
from orchestrator.sweep.trial_queue import TrialQueue
from orchestrator.sweep.trial_teller import TrialTeller
from orchestrator.tracking.missing_events import Told
from prvr_model.reporting import EpochReport
from tests.orchestrator.helpers import FINGERPRINT, new_searcher, new_study, run_sweep, small_spec
from tests.orchestrator.spec.spec_texts import problem_of

STOPPING = small_spec().early_stopping


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
        function=f"tests.orchestrator.executors.fake_trials:{function}",
        **options,
    )


def driver_of(spec: SweepSpec, study: SweepStudy, progress: Warned) -> SweepDriver:
    searcher = new_searcher(study, spec)
    queue = TrialQueue(searcher, BudgetGate(spec, study, progress.warn), lambda: False)
    teller = TrialTeller(SafeSink(None, progress.warn), progress, {}, Told())
    return SweepDriver(spec.objective.metric, study, searcher, queue, teller)


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
        "further trial begins"
    )
    text = render_status(read_status(tmp_path, "small"))
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


def test_a_sweep_continues_with_a_larger_budget(tmp_path: Path) -> None:
    assert num_complete(run(tmp_path, "budget.trials=2")) == 2
    result = run(tmp_path, "budget.trials=5", told=Told())
    assert num_complete(result) == 5
    assert num_complete(run(tmp_path, "budget.trials=null", told=Told())) == 6
    assert "budget" not in render_status(read_status(tmp_path, "small"))


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


def test_a_night_between_two_epochs_counts_as_one_epoch(tmp_path: Path) -> None:
    run(tmp_path, "search.trials=2", "early_stopping.max_epochs=2")
    study = SweepStudy.reopen(
        study_url(tmp_path), "small", build_sampler(small_spec()), build_pruner(STOPPING)
    )
    before = spent(small_spec(), study)
    url = study_url(tmp_path)
    last = study.rows(1)[-1].timestamp_ms
    study.extend(url, {}, 2, 3)
    study = SweepStudy.reopen(url, "small", build_sampler(small_spec()), build_pruner(STOPPING))
    study.take_up(1, Drawing({}))
    study.record_epoch(1, 3, 1.0, last + 24 * 3_600_000, is_judged=False)
    after = spent(small_spec(), study)
    assert before.epoch_s == pytest.approx(3600, rel=1e-3)
    assert after.epoch_s == pytest.approx(3600, rel=1e-3)
    assert after.wall_hours == pytest.approx(before.wall_hours + 1, rel=1e-2)


def test_the_rest_of_a_trial_that_ends_early_is_granted_to_another(tmp_path: Path) -> None:
    spec = small_spec("resources.gpus=1", "budget.gpu_hours=7", "early_stopping.max_epochs=3")
    study, progress = new_study(tmp_path, spec), Warned()
    driver = driver_of(spec, study, progress)
    first, second = driver.next_trial(), driver.next_trial()
    assert first is not None
    assert second is not None
    hour = 3_600_000
    begun = study.summary(0).started_ms or 0
    for trial in (first, second):
        report = EpochReport(1, {"val/SumR": 1.0}, begun + hour)
        driver.on_report(trial.number, report)
    # Two hours are spent and four to come: a third trial of three hours would be too much.
    assert driver.next_trial() is None
    assert progress.lines == []
    # The first ends early and leaves its two hours: a third trial just fits.
    driver.on_end(first.number)
    assert study.attributes.get(OVER_BUDGET) is None
    third = driver.next_trial()
    assert third is not None
    driver.on_end(second.number)
    assert driver.next_trial() is None


def test_the_last_running_trial_leaves_its_rest_too(tmp_path: Path) -> None:
    spec = small_spec("resources.gpus=1", "budget.gpu_hours=5", "early_stopping.max_epochs=3")
    study, progress = new_study(tmp_path, spec), Warned()
    driver = driver_of(spec, study, progress)
    first = driver.next_trial()
    assert first is not None
    begun = study.summary(0).started_ms or 0
    driver.on_report(0, EpochReport(1, {"val/SumR": 1.0}, begun + 3_600_000))
    assert driver.next_trial() is None
    driver.on_end(0)
    assert driver.next_trial() is not None
    assert progress.lines == []
