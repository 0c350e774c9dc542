"""Several objectives and limits: front, knee and order, and how samplers see them."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.base.errors import SpecError
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.goals import Goals, cost_text, is_on_front
from orchestrator.study.searcher import RefusedTrial
from orchestrator.study.study import SweepStudy
from orchestrator.study.trial import TrialRequest, TrialState, TrialSummary
from tests.orchestrator.helpers import new_searcher, new_study, reopened_study, small_spec

BYTES, SECONDS = "cost/bytes_per_video", "cost/train_s"
TWO = "objectives=[{metric: val/SumR}, {metric: cost/bytes_per_video}]"
LIMIT = "limits={cost/bytes_per_video: 4000}"
NUMBERS = (
    "search.parameters={losses.tau: {type: float, low: 0.5, high: 0.9}, model.num_scales: {type: "
    "int, low: 1, high: 8}}"
)
GOALS = Goals({"val/SumR": "maximize", BYTES: "minimize"}, {SECONDS: 50.0})


def trial(
    number: int, value: float, size: float, seconds: float = 1.0, confirms: int | None = None
) -> TrialSummary:
    costs = {BYTES: size, SECONDS: seconds}
    return TrialSummary(
        number,
        TrialState.COMPLETE,
        {},
        value,
        1,
        1,
        f"key{number}",
        "",
        costs=costs,
        confirms=confirms,
    )


def test_the_front_is_what_no_other_one_beats() -> None:
    draw = np.random.default_rng(0)
    for columns in (2, 3):
        losses = draw.integers(0, 6, size=(60, columns)).astype(float)
        kept = is_on_front(losses)
        for k, row in enumerate(losses):
            beats = (losses <= row).all(axis=1) & (losses < row).any(axis=1)
            equal_before = (losses[:k] == row).all(axis=1).any()
            assert kept[k] == (not beats.any() and not equal_before)


def test_front_knee_and_order() -> None:
    trials = [
        trial(0, 100, 900),
        trial(1, 98, 300),
        trial(2, 97, 400),  # beaten by 1
        trial(3, 60, 100),
        trial(4, 120, 100, seconds=60),  # over the limit
    ]
    front = GOALS.front(trials)
    assert [member.number for member in front] == [0, 1, 3]
    knee = GOALS.knee(front)
    assert knee is not None
    assert knee.number == 1
    assert [one.number for one in GOALS.ranked(trials)] == [0, 1, 3, 2]
    by_knee = Goals(GOALS.objectives, GOALS.limits, "knee")
    assert [one.number for one in by_knee.ranked(trials)] == [1, 0, 3, 2]
    assert GOALS.knee(()) is None
    assert GOALS.over_limit({SECONDS: 60}) == "cost/train_s is 60, allowed: at most 50"
    assert not GOALS.is_feasible(TrialSummary(9, TrialState.COMPLETE, {}, 1, 1, 1, "", ""))


def test_the_luckiest_seed_is_no_point_of_the_front() -> None:
    trials = [trial(0, 100, 900), trial(1, 98, 300), trial(2, 110, 300, confirms=1)]
    assert [member.number for member in GOALS.front(trials)] == [0, 1]


@pytest.mark.parametrize(
    ("goals", "reason"),
    [
        (
            Goals(GOALS.objectives, {}, "knee"),
            "the knee of 2 trials that no other one beats",
        ),
        (GOALS, "the best val/SumR of 2 trials within the limits that no other one beats"),
        (Goals({}, GOALS.limits), "the best within the limits"),
    ],
)
def test_why_the_winner_wins(goals: Goals, reason: str) -> None:
    assert goals.reason(2) == reason


def test_costs_are_whole_where_digits_say_nothing() -> None:
    costs = (0.03456, 12.345678, 999.96, 1000.4, 1234567.0, float("nan"), None)
    texts = [cost_text(cost) for cost in costs]
    assert texts == ["0.03456", "12.35", "1000", "1,000", "1,234,567", "-", "-"]


def test_a_front_of_many_trials_is_small() -> None:
    losses = np.random.default_rng(0).random((20_000, 3))
    kept = losses[is_on_front(losses)]
    assert 10 < len(kept) < 500


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objectives=[{metric: val/SumR}]"], "found one; allowed: two or more"),
        (
            ["objectives=[{metric: cost/train_s}, {metric: cost/parameters}]"],
            "found cost/train_s; allowed first: a metric of validation",
        ),
        (
            ["objectives=[{metric: val/SumR}, {metric: val/R1}]"],
            "found val/R1; allowed after the first: cost/parameters",
        ),
        ([TWO, "objective.metric=val/R1"], "found val/R1 maximize, but objectives"),
        (["crown=knee"], "found knee; needs two objectives"),
        (["limits={cost/bytes: 3}"], "unknown cost 'cost/bytes'"),
        (["limits={cost/train_s: 0}"], "found 0; allowed: a number above 0"),
        ([TWO, NUMBERS, "search.sampler=cmaes"], "found cmaes with several objectives"),
        ([TWO, "crown=knee", "confirm={top: 1}"], "found with crown: knee"),
        (["objective.metric=cost/train_s"], "found cost/train_s, a cost"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("[", r"\[")):
        small_spec(*overrides)


def test_a_spec_with_goals_reads_as_it_was_written() -> None:
    spec = small_spec(TWO, LIMIT, "crown=knee")
    assert read_spec(spec.dump_yaml()) == spec
    assert spec.objective.metric == "val/SumR"
    assert [goal.direction for goal in spec.objectives] == ["maximize", "minimize"]
    plain = small_spec().dump_yaml()
    assert not any(key in plain for key in ("objectives", "limits", "crown"))


def drawn(
    home: Path, spec: SweepSpec, reopen_at: int | None = None
) -> tuple[SweepStudy, list[TrialSummary]]:
    """All trials of a sweep, one after the other; more scales are better and cost more."""
    study = new_study(home, spec)
    while True:
        if study.num_asked() == reopen_at:
            study = reopened_study(home, spec)
        trial = new_searcher(study, spec).next()
        if trial is None:
            return study, list(study.summaries())
        if isinstance(trial, TrialRequest):
            model, losses = trial.settings.model, trial.settings.losses
            study.note_costs(trial.number, {BYTES: 1000.0 * model.num_scales})
            value = model.num_scales + losses.tau
            study.record_epoch(trial.number, 1, value, 1, is_judged=False)
            study.tell_complete(trial.number)
        else:
            assert isinstance(trial, RefusedTrial)
            assert trial.cause is None


SAMPLERS = [("tpe", 14), ("gp", 6), ("cmaes", 14), ("qmc", 14), ("random", 14)]


@pytest.mark.parametrize(("sampler", "wanted"), SAMPLERS)
def test_trials_over_a_limit_are_told_and_replaced(
    tmp_path: Path, sampler: str, wanted: int
) -> None:
    spec = small_spec(LIMIT, NUMBERS, f"search.sampler={sampler}", f"search.trials={wanted}")
    study, trials = drawn(tmp_path / "whole", spec)
    _, parts = drawn(tmp_path / "parts", spec, reopen_at=5)
    assert [one.parameters for one in trials] == [part.parameters for part in parts]
    over = [one for one in trials if one.over_limit]
    assert over
    assert all(one.state is TrialState.PRUNED and one.value is None for one in over)
    assert over[0].over_limit is not None
    assert over[0].over_limit.startswith(f"{BYTES} is ")
    trained = [one for one in trials if one.state is TrialState.COMPLETE]
    assert len(trained) == wanted or len(trials) == 2 * wanted
    assert all(one.costs[BYTES] <= 4000 for one in trained)
    assert study.best()[0].value == max(one.value or 0 for one in trained)
    if sampler in ("tpe", "gp"):
        half = len(trials) // 2
        late = [bool(one.over_limit) for one in trials[half:]]
        assert sum(late) < len(over) / 2


@pytest.mark.parametrize(("sampler", "wanted"), [("tpe", 20), ("gp", 9)])
def test_two_objectives_spread_over_the_front(tmp_path: Path, sampler: str, wanted: int) -> None:
    """Every number of scales is on the front, with the highest tau; another driver draws alike."""
    spec = small_spec(TWO, NUMBERS, f"search.sampler={sampler}", f"search.trials={wanted}")
    study, trials = drawn(tmp_path / "whole", spec)
    _, parts = drawn(tmp_path / "parts", spec, reopen_at=5)
    assert [one.parameters for one in trials] == [part.parameters for part in parts]
    # By the first objective alone, the last ones would have seven or eight scales.
    assert min(one.parameters["model.num_scales"] for one in trials[wanted // 2 :]) < 5
    front = study.front()
    scales = [member.parameters["model.num_scales"] for member in front]
    assert scales == sorted(set(scales), reverse=True)
    assert study.best()[0].number == front[0].number
