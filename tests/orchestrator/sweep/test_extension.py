"""Which extensions of a sweep are refused, and what the others change in its spec."""

from typing import Any

import pytest

from orchestrator.base.errors import ResumeError, SpecError
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.planned_trials import PlannedTrial, TrialPlan
from orchestrator.sweep.extension import Extension, extended_spec
from tests.orchestrator.helpers import small_spec

TABLE = """\
name: table
question: Which margin?
data: builtin
settings: {training.epochs: 2, optimizer.schedule_epochs: 2, losses.hard_negative_epoch: null}
ablation: {design: swap, baseline: {}, variants: {wide: {losses.margin: 0.3}}, seeds: 2}
"""
GRID = (
    "search={sampler: grid, seed: 3, parameters: {losses.tau: {type: float, low: 0.5, high: 0.9, "
    "step: 0.1}}}"
)
HYPERBAND = "early_stopping={method: hyperband, first_rung: 1, reduction: 2, max_epochs: 4}"


def extended(spec: SweepSpec, extension: Extension, **attributes: Any) -> SweepSpec:  # noqa: ANN401
    return extended_spec(spec, extension, {"spec_yaml": spec.dump_yaml(), **attributes})


def refusal(spec: SweepSpec, extension: Extension, **attributes: Any) -> str:  # noqa: ANN401
    with pytest.raises(ResumeError) as caught:
        extended(spec, extension, **attributes)
    return str(caught.value)


def test_no_extension_leaves_the_spec_equal() -> None:
    for spec in (small_spec(), read_spec(TABLE)):
        assert extended(spec, Extension()) == spec


def test_trials_epochs_and_budget_grow() -> None:
    spec = small_spec("budget.trials=4")
    larger = extended(spec, Extension(trials=9, epochs=5, budget=("trials=7 ",)))
    assert (larger.num_trials, larger.max_epochs) == (9, 5)
    assert larger.budget is not None
    assert larger.budget.trials == 7


def test_seeds_of_an_ablation_grow_by_number_or_by_list() -> None:
    assert extended(read_spec(TABLE), Extension(seeds=3)).seeds() == (1, 2, 3)
    listed = read_spec(TABLE, ["ablation.seeds=[3, 11]"])
    assert extended(listed, Extension(seeds=3)).seeds() == (3, 11, 12)


def test_nothing_is_taken_away() -> None:
    assert refusal(small_spec(), Extension(trials=5)) == (
        "--trials 5: the sweep has 6, and a resume takes nothing away; allowed: 6 or more"
    )
    assert "--epochs 2: the sweep has 3" in refusal(small_spec(), Extension(epochs=2))
    assert "--seeds 1: the sweep has 2" in refusal(read_spec(TABLE), Extension(seeds=1))


def test_epochs_end_with_the_learning_rates() -> None:
    assert extended(small_spec(), Extension(epochs=9)).max_epochs == 9
    said = refusal(small_spec(), Extension(epochs=10))
    assert "end at epoch 9 (optimizer.schedule_epochs)" in said
    assert "allowed: at most 9, or launch a sweep of another name" in said


def test_hyperband_keeps_its_epochs() -> None:
    spec = small_spec(HYPERBAND)
    assert extended(spec, Extension(epochs=4)) == spec
    said = refusal(spec, Extension(epochs=5))
    assert said.startswith("--epochs 5: hyperband divided the trials by the 4 epochs")
    assert said.endswith("launch a sweep of another name")


def test_trials_and_seeds_belong_to_searches_and_ablations() -> None:
    said = refusal(read_spec(TABLE), Extension(trials=9))
    assert said.startswith("--trials 9: sweep 'table' is an ablation")
    assert said.endswith("allowed: --seeds")
    assert refusal(small_spec(), Extension(seeds=4)).endswith("allowed: --trials")


def test_what_was_judged_at_planned_times_grows_no_more() -> None:
    race = read_spec(TABLE, ["ablation.race={max_seeds: 5}"])
    assert refusal(race, Extension(seeds=4)).startswith("--seeds 4: sweep 'table' is a race")
    plan = TrialPlan({}).with_round(6, [PlannedTrial({"losses.tau": 0.7}, confirms=1, block=0)])
    said = refusal(small_spec(), Extension(trials=9), planned_trials=plan.to_json())
    assert said.startswith("--trials 9: sweep 'small' has confirmed its best on fresh seeds")
    assert "--set name=... --set search.trials=9" in said


def test_a_grid_has_no_more_trials_than_points() -> None:
    with pytest.raises(SpecError, match=r"search\.trials"):
        extended(small_spec(GRID), Extension(trials=6))
