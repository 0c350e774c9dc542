"""The grammar of an ablation: rows of every design, seeds, refusals, plan."""

import pytest

from orchestrator.commands.plan_text import render_plan
from orchestrator.preflight.plan import plan_here
from orchestrator.spec.ablation import SEED
from orchestrator.spec.changes import extensions, spec_changes
from orchestrator.spec.loading import read_spec
from orchestrator.spec.search_space import resolve
from orchestrator.spec.warnings import spec_warnings
from orchestrator.study.planned_trials import PlannedTrial, TrialPlan, runs_of
from orchestrator.sweep.rounds import missing_runs
from tests.orchestrator.spec.spec_texts import problem_of, problems_of, spec_of

LADDER = """\
name: ladder
question: Which steps are real?
data: builtin
settings: {training.epochs: 2, optimizer.schedule_epochs: 2, losses.hard_negative_epoch: null}
ablation:
  design: ladder
  baseline: {set: {losses.tcpl_angle_weight: 0, losses.cross_branch: off}}
  variants:
    TCPL: {losses.tcpl_angle_weight: 30}
    CBVA: {losses.cross_branch: fixed}
    adaptive: {losses.cross_branch: adaptive}
  seeds: 2
"""


def rows_of(*overrides: str) -> dict[str, dict[str, object]]:
    return {row.name: row.overrides for row in spec_of(*overrides, text=LADDER).rows}


def test_rows_of_a_ladder_add_up() -> None:
    rows = rows_of()
    assert list(rows) == ["baseline", "TCPL", "CBVA", "adaptive"]
    values = [
        (row["losses.tcpl_angle_weight"], row["losses.cross_branch"]) for row in rows.values()
    ]
    assert values == [(0, "off"), (30, "off"), (30, "fixed"), (30, "adaptive")]


def test_rows_of_one_in_stand_each_on_the_baseline() -> None:
    rows = rows_of("ablation.design=one_in")
    assert rows["CBVA"] == {"losses.tcpl_angle_weight": 0, "losses.cross_branch": "fixed"}


def test_one_out_takes_from_the_full_model() -> None:
    without = "ablation.variants={no TCPL: {losses.tcpl_angle_weight: 0}}"
    rows = rows_of("ablation.design=one_out", "ablation.baseline={}", without)
    assert rows == {"full": {}, "no TCPL": {"losses.tcpl_angle_weight": 0}}


def test_a_grid_has_every_combination_and_the_baseline_once() -> None:
    factors = "ablation.factors={losses.tau: [0.7, 0.8], model.num_scales: [4, 8]}"
    grid = ("ablation.design=grid", "ablation.variants={}", "ablation.baseline={}", factors)
    rows = rows_of(*grid)
    # The published tau and number of scales, 0.8 and 8, are the baseline's.
    assert list(rows) == ["baseline", "tau=0.7 num_scales=4", "tau=0.7 num_scales=8",
                          "tau=0.8 num_scales=4"]  # fmt: skip
    assert rows["tau=0.7 num_scales=4"] == {"losses.tau": 0.7, "model.num_scales": 4}
    other = "ablation.baseline={set: {losses.tau: 0.9}}"
    assert len(rows_of(*grid, other)) == 5


def test_a_baseline_alone_is_a_study_of_seeds() -> None:
    spec = spec_of("ablation.variants={}", text=LADDER)
    assert [row.name for row in spec.rows] == ["baseline"]
    assert spec.num_trials == 2


def test_overrides_reach_into_variants() -> None:
    rows = rows_of(
        "ablation.variants.TCPL.losses.margin=0.3", "ablation.baseline.set.losses.tau=0.7"
    )
    assert rows["TCPL"]["losses.margin"] == 0.3
    assert rows["baseline"]["losses.tau"] == 0.7


def test_seeds_are_counted_or_listed_and_go_on_after_a_list() -> None:
    assert spec_of("training.seed=5", text=LADDER).seeds() == (5, 6)
    listed = spec_of("ablation.seeds=[3, 11]", text=LADDER)
    assert listed.seeds() == (3, 11)
    assert listed.seeds(4) == (3, 11, 12, 13)


def test_race_true_is_three_times_the_seeds() -> None:
    spec = spec_of("ablation.race=true", text=LADDER)
    assert spec.ablation is not None
    assert spec.ablation.race is not None
    assert spec.ablation.race.max_seeds == 6
    off = spec_of("ablation.race=false", text=LADDER).ablation
    assert off is not None
    assert off.race is None


def test_the_resolved_spec_loads_to_an_equal_one() -> None:
    spec = spec_of("ablation.race=true", text=LADDER)
    assert read_spec(spec.dump_yaml()) == spec


def test_runs_come_seed_by_seed() -> None:
    spec = spec_of(text=LADDER)
    runs = missing_runs(spec, TrialPlan({}))
    assert [(run.variant, run.block, run.parameters[SEED]) for run in runs] == [
        (name, block, block + 1)
        for block in (0, 1)
        for name in ("baseline", "TCPL", "CBVA", "adaptive")
    ]
    for run in runs:
        assert resolve(spec, run.parameters).training.seed == run.parameters[SEED]


def test_more_seeds_add_runs_to_those_that_are_planned() -> None:
    spec = spec_of(text=LADDER)
    plan = TrialPlan({}).with_round(0, missing_runs(spec, TrialPlan({})))
    assert missing_runs(spec, plan) == []
    more = missing_runs(spec_of("ablation.seeds=3", text=LADDER), plan)
    assert [(run.variant, run.parameters[SEED]) for run in more] == [
        ("baseline", 3),
        ("TCPL", 3),
        ("CBVA", 3),
        ("adaptive", 3),
    ]
    assert sorted(plan.with_round(8, more).trials) == list(range(12))


def test_only_the_rows_that_are_named_get_runs() -> None:
    rows = spec_of(text=LADDER).rows
    runs = runs_of(rows, {"TCPL": (1, 2, 3)}, {"TCPL": 1})
    assert [(run.variant, run.block) for run in runs] == [("TCPL", 1), ("TCPL", 2)]


def test_a_plan_survives_json() -> None:
    plan = TrialPlan({}).with_round(3, [PlannedTrial({"losses.tau": 0.7}, confirms=1, block=0)])
    assert TrialPlan.of({"planned_trials": plan.to_json()}) == plan


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("ablation.design=ladders", "allowed: one of ladder, one_out, one_in, grid, swap"),
        ("ablation.seeds=0", "found 0; allowed: a whole number >= 1"),
        ("ablation.seeds=[1, 1]", "or a list of different whole numbers"),
        ("ablation.race={max_seeds: 2}", ""),
        ("ablation.race={max_seeds: 1}", "allowed: a whole number >= 2"),
        ("ablation={design: one_in, seeds: 1, race: true}", "found 1 with race; allowed: 2"),
        ("ablation.variants.TCPL={}", "found no override; allowed: one setting or more"),
        ("ablation.variants.TCPL.losses.tua=1", "did you mean losses.tau?"),
        ("ablation.variants.TCPL.training.seed=4", "use ablation.seeds"),
        ("ablation.variants.TCPL.training.epochs=4", "use settings.training.epochs"),
        ("ablation.variants.TCPL.losses.margin=-1", "found -1; allowed: a number >= 0"),
        ("ablation.variants.baseline={losses.tau: 0.7}", "is the name of the baseline too"),
        ("ablation.factors={losses.tau: [0.7, 0.8]}", "allowed: grid only, use variants"),
        ("ablation.design=grid", ""),
        ("ablation.design=swap", "under swap all variants must"),
        ("early_stopping.method=asha", "rows that stop early do not have the same budget"),
        ("confirm={top: 1}", "found with ablation"),
        ("search={trials: 3, parameters: {losses.tau: {type: float, low: 0, high: 1}}}", "one of"),
        ("objective.metric=val/clip/SumR", ""),
        ("objective.direction=minimize", "but val/SumR is better when larger; allowed: maximize"),
        ("model.num_heads=7", "is not a multiple of num_heads"),
    ],
)
def test_refusals(override: str, problem: str) -> None:
    if not problem:
        with_more = {
            "ablation.race={max_seeds: 2}": ("ablation.seeds=3", "below the 3 of ablation.seeds"),
            "ablation.design=grid": ("ablation.seeds=2", "found under design grid"),
            "objective.metric=val/clip/SumR": ("ablation.race=true", "a metric of the fused score"),
        }
        second, problem = with_more[override]
        assert any(problem in found for found in problems_of(override, second, text=LADDER))
        return
    assert any(problem in found for found in problems_of(override, text=LADDER))


def test_rows_that_are_the_same_are_named() -> None:
    same = problem_of("ablation.variants.TCPL.losses.tcpl_angle_weight=0", text=LADDER)
    assert same.endswith("ablation.variants.TCPL: 'TCPL' has the same settings as 'baseline'")


def test_a_row_that_cannot_be_trained_is_named() -> None:
    (problem,) = problems_of("ablation.variants.adaptive.model.num_heads=7", text=LADDER)
    assert "ablation.variants.adaptive: model: hidden_size 384 is not a multiple" in problem


def test_neither_search_nor_ablation() -> None:
    text = LADDER.partition("ablation:")[0]
    assert "search: missing; allowed: one of search and ablation" in problem_of(text=text)


def test_few_seeds_are_warned_of() -> None:
    assert spec_warnings(spec_of("ablation.seeds=1", text=LADDER)) == (
        "ablation.seeds 1: one seed shows no difference to be real; use 3 or more",
    )
    assert spec_warnings(spec_of("ablation.seeds=3", text=LADDER)) == ()


def test_the_plan_shows_rows_comparisons_and_seeds() -> None:
    lines = render_plan(plan_here(spec_of("ablation.race=true", text=LADDER))).splitlines()
    shown = [line.split(maxsplit=1)[-1] if "ablation" in line else line.strip() for line in lines]
    assert "ladder of 4 rows" in shown
    assert "CBVA      losses.cross_branch = 'fixed'" in shown
    assert "each against baseline and the step before: 5 comparisons, corrected together" in shown
    assert "every row on 2 seeds: 1, 2; undecided rows get more, up to 3, then 4, then 6" in shown
    assert any(line.startswith("trials     8 at first, at most 24, ") for line in shown)
    assert any(line.endswith("16 to 48 in all") for line in shown)


def test_the_plan_as_json_has_the_table() -> None:
    planned = plan_here(spec_of("ablation.race=true", text=LADDER)).to_dict()
    assert (planned["trials"], planned["most_trials"]) == (8, 24)
    assert [row["name"] for row in planned["rows"]] == ["baseline", "TCPL", "CBVA", "adaptive"]
    assert (planned["seeds"], planned["looks"]) == ([1, 2], [2, 3, 4, 6])
    assert planned["epochs"] == {"least": 16, "expected": 32, "most": 48}


def test_the_plan_of_a_search_shows_its_confirmation() -> None:
    plan = plan_here(spec_of("confirm={top: 2, seeds: 3}"))
    lines = [line.strip() for line in render_plan(plan).splitlines()]
    again = "the best 2 again on 3 fresh seeds (2, 3, 4): 6 trials; the best mean of these wins"
    assert f"confirm    {again}" in lines
    assert any(line.startswith("trials     12 and 6, ") for line in lines)
    # 12 trials of 9 epochs at most, and 6 of 9 that nothing prunes.
    assert (plan.most_trials, plan.epochs.most) == (18, 162)
    alone = plan_here(spec_of())
    assert plan.epochs.expected == alone.epochs.expected + 54


def test_rows_in_which_their_setting_is_switched_off_are_warned_of() -> None:
    idle = "ablation.variants.TCPL.losses.tau=0.7"
    assert spec_warnings(spec_of(idle, "ablation.seeds=3", text=LADDER)) == (
        "ablation.variants.TCPL: losses.tau changes nothing under losses.cross_branch: off (TCPL)",
    )
    on = "ablation.variants.CBVA={losses.cross_branch: adaptive, losses.tau: 0.7}"
    adaptive = "ablation.variants.adaptive={losses.tau: 0.8}"
    assert spec_warnings(spec_of(on, adaptive, "ablation.seeds=3", text=LADDER)) == ()
    grid = spec_of(
        "ablation={design: grid, factors: {losses.cross_branch: [off, adaptive], "
        "losses.tau: [0.7, 0.8, 0.9]}}",
        text=LADDER,
    )
    assert spec_warnings(grid) == (
        "ablation.factors: losses.tau changes nothing under losses.cross_branch: off "
        "(cross_branch=off tau=0.7 and 2 more)",
    )


def test_more_seeds_are_an_extension() -> None:
    there = spec_of(text=LADDER).dump_yaml()
    changes = spec_changes(there, spec_of("ablation.seeds=4", text=LADDER))
    assert changes == {"ablation.seeds": ("2", "4")}
    assert extensions(changes) == "--seeds 4"
