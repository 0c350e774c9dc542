"""Trials of one budget, slices and parallel coordinates: against slow, obvious computations."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from orchestrator.report.budgets import BudgetTrials, largest_budget, rungs, trials_at
from orchestrator.report.parameter_slices import lines, parameter_slices
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.study import Drawing, SweepStudy, TrialDescription
from orchestrator.study.trial import FailureCause, TrialState, TrialSummary
from tests.orchestrator.helpers import new_study, small_spec

ASHA = ("early_stopping={method: asha, first_rung: 1, reduction: 3, max_epochs: 9}",)


def trial(study: SweepStudy, values: list[float], end: str) -> int:
    number = study.ask(Drawing({})).number
    study.describe(number, TrialDescription({"losses.tau": 0.5}, seed=1))
    for epoch, value in enumerate(values, start=1):
        study.record_epoch(number, epoch, value, 1000 + epoch, is_judged=False)
    if end == "complete":
        study.tell_complete(number)
    elif end == "pruned":
        study.tell_pruned(number)
    elif end == "failed":
        study.tell_failed(number, FailureCause("E", "e", ""))
    return number


@pytest.fixture
def study(tmp_path: Path) -> SweepStudy:
    made = new_study(tmp_path, small_spec(*ASHA))
    trial(made, [5, 9, 7, 1, 1, 1, 1, 1, 20], "complete")
    trial(made, [6, 2, 3], "pruned")
    trial(made, [4], "pruned")
    trial(made, [8, 1], "running")
    trial(made, [7, 7, 7], "failed")
    trial(made, [3, 2], "complete")
    return made


@pytest.mark.parametrize(
    ("stopping", "expected"),
    [
        ("{method: none, max_epochs: 9}", (9,)),
        ("{method: asha, first_rung: 1, reduction: 3, max_epochs: 9}", (1, 3, 9)),
        ("{method: hyperband, first_rung: 2, reduction: 2, max_epochs: 9}", (2, 4, 8, 9)),
        ("{method: median, first_rung: 4, reduction: 3, max_epochs: 9}", (4, 9)),
    ],
)
def test_rungs_are_those_of_the_pruner(stopping: str, expected: tuple[int, ...]) -> None:
    assert rungs(small_spec(f"early_stopping={stopping}")) == expected


@pytest.mark.parametrize(
    ("epochs", "numbers", "values", "before"),
    [
        (1, (0, 1, 2, 3, 5), (5, 6, 4, 8, 3), 1),
        (3, (0, 1, 5), (9, 6, 3), 2),
        (9, (0, 5), (20, 3), 3),
    ],
)
def test_a_value_is_the_best_within_the_budget(
    study: SweepStudy, epochs: int, numbers: tuple, values: tuple, before: int
) -> None:
    found = trials_at(small_spec(*ASHA), study, epochs)
    assert tuple(trial.number for trial in found.trials) == numbers
    assert (found.values, found.ended_before) == (values, before)


@pytest.mark.parametrize(("least", "epochs"), [(2, 9), (3, 3), (4, 1), (99, 1)])
def test_the_largest_budget_with_enough_trials_is_taken(
    study: SweepStudy, least: int, epochs: int
) -> None:
    assert largest_budget(small_spec(*ASHA), study, least).epochs == epochs


def test_it_says_which_trials_these_are(study: SweepStudy) -> None:
    said = largest_budget(small_spec(*ASHA), study, 3).statement
    assert said == "3 trials by their first 3 of 9 epochs (2 ended before)"
    assert "2 trials of 9 epochs" in trials_at(small_spec(*ASHA), study, 9).statement


def drawn(spec: SweepSpec, count: int) -> BudgetTrials:
    generator = np.random.default_rng(7)
    made = []
    for k in range(count):
        values = {
            "losses.tau": float(np.round(generator.uniform(0.5, 0.9), 1)),
            "losses.tcpl_angle_weight": float(np.exp(generator.uniform(np.log(5), np.log(60)))),
            "model.num_scales": int(generator.integers(1, 9)),
            "losses.cross_branch": str(generator.choice(["fixed", "adaptive"])),
        }
        made.append(TrialSummary(k, TrialState.COMPLETE, values, 1.0, 1, 3, "", ""))
    values = generator.normal(170, 2, count)
    return BudgetTrials(3, 3, tuple(made), tuple(map(float, values)), 0)


def test_parts_hold_every_trial_once_and_keep_equal_values_together() -> None:
    spec = small_spec()
    found = drawn(spec, 41)
    for parameter in parameter_slices(spec, found):
        assert sum(part.trials for part in parameter.parts) == 41
        for part in parameter.parts:
            own = [
                value
                for trial, value in zip(found.trials, found.values, strict=True)
                if part.low == trial.parameters[parameter.path]
                or (
                    part.low != part.high
                    and _within(part.low, trial.parameters[parameter.path], part.high)
                )
            ]
            assert part.trials == len(own)
            assert part.mean == pytest.approx(np.mean(own))
    assert [len(parameter.parts) for parameter in parameter_slices(spec, found)] == [4, 4, 4, 2]


def _within(low: float, value: float, high: float) -> bool:
    return low <= value <= high


def test_intervals_are_students() -> None:
    spec = small_spec()
    found = drawn(spec, 41)
    category = next(
        parameter
        for parameter in parameter_slices(spec, found)
        if parameter.path == "losses.cross_branch"
    )
    for part in category.parts:
        own = [
            value
            for trial, value in zip(found.trials, found.values, strict=True)
            if trial.parameters["losses.cross_branch"] == part.low
        ]
        slow = ttest_1samp(own, 0).confidence_interval(0.95)
        assert part.interval is not None
        assert (part.interval.low, part.interval.high) == pytest.approx((slow.low, slow.high))


def test_few_trials_have_no_interval() -> None:
    spec = small_spec()
    parts = [
        part for parameter in parameter_slices(spec, drawn(spec, 5)) for part in parameter.parts
    ]
    assert all(part.interval is None for part in parts if part.trials < 4)
    assert parameter_slices(spec, drawn(spec, 0)) == ()


def test_lines_run_from_the_low_to_the_high_end_of_what_is_searched() -> None:
    spec = small_spec()
    ends = [(0.5, 5.0, 1, "fixed"), (0.9, 60.0, 8, "adaptive"), (0.7, 300**0.5, 1, "fixed")]
    trials = tuple(
        TrialSummary(k, TrialState.COMPLETE, dict(zip(spec.space, values, strict=True)), 1.0, 1, 3,
                     "", "")
        for k, values in enumerate(ends)
    )  # fmt: skip
    found = BudgetTrials(3, 3, trials, (1.0, 3.0, 2.0), 0)
    drawn_lines = lines(spec, found, "maximize")
    heights = [line.heights for line in drawn_lines]
    assert heights[0] == pytest.approx((0, 0, 0, 0))
    assert heights[1] == pytest.approx((1, 1, 1, 1))
    assert heights[2] == pytest.approx((0.5, 0.5, 0, 0))
    assert [line.is_best for line in drawn_lines] == [False, True, False]
    assert [line.is_best for line in lines(spec, found, "minimize")] == [True, False, False]


def test_a_value_that_a_trial_lacks_is_left_open() -> None:
    spec = small_spec()
    lacking = TrialSummary(0, TrialState.COMPLETE, {"losses.tau": 0.5}, 1.0, 1, 3, "", "")
    (line,) = lines(spec, BudgetTrials(3, 3, (lacking,), (1.0,), 0), "maximize")
    assert line.heights == (0.0, None, None, None)
