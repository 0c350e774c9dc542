"""Parameters, the settings made of them, and combinations that cannot be trained."""

import itertools
import random
import warnings

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from orchestrator.spec.parameters import FloatParameter, IntParameter, Parameter
from orchestrator.spec.search_space import grid_points, resolve, snapped, space_problems
from prvr_model.errors import SettingsError
from prvr_model.settings import build_settings
from tests.orchestrator.spec.spec_texts import SPEC, problem_of, problems_of, spec_of

GRID = SPEC.replace("  trials: 12\n", "").replace("tpe", "grid").replace("0.9}", "0.9, step: 0.1}")
CROSS = "search.parameters.losses.cross_branch={type: categorical, choices: [off, adaptive]}"


def search(path: str, parameter: str) -> str:
    return f"search.parameters.{path}={parameter}"


class TestResolve:
    def test_parameters_win_over_settings_and_these_over_the_preset(self) -> None:
        spec = spec_of("preset=tvr", "losses.margin=0.3", CROSS)
        settings = resolve(spec, {"losses.tau": 0.6, "losses.cross_branch": "off"})
        assert settings.losses.tau == 0.6
        assert settings.losses.cross_branch == "off"
        assert settings.losses.margin == 0.3
        assert settings.optimizer.learning_rate == 3e-4
        assert settings.training.epochs == 9

    def test_no_parameters_give_what_all_trials_share(self) -> None:
        spec = spec_of()
        assert resolve(spec, {}) == build_settings(None, spec.settings)

    def test_rounding_noise_of_a_sampler_makes_no_other_trial(self) -> None:
        spec = spec_of("search.parameters.losses.tau.step=0.1")
        noisy = 0.5 + 0.1 + 0.1 + 0.1
        assert noisy != 0.8
        assert snapped(spec, {"losses.tau": noisy}) == {"losses.tau": 0.8}

    def test_what_cannot_be_trained_is_an_error(self) -> None:
        with pytest.raises(SettingsError, match="less than or equal to 1"):
            resolve(spec_of(), {"losses.tau": 2.0})


class TestGrid:
    def test_points_are_the_product(self) -> None:
        points = grid_points(spec_of(CROSS, text=GRID))
        assert points == [
            {"losses.tau": tau, "losses.cross_branch": branch}
            for tau, branch in itertools.product([0.5, 0.6, 0.7, 0.8, 0.9], ["off", "adaptive"])
        ]

    def test_as_many_as_the_spec_says(self) -> None:
        spec = spec_of(CROSS, search("model.num_scales", "{type: int, low: 1, high: 8, step: 3}"),
                       text=GRID)  # fmt: skip
        assert len(grid_points(spec)) == spec.num_trials == 30

    def test_a_continuous_parameter_has_no_grid(self) -> None:
        text = SPEC.replace("  trials: 12\n", "").replace("tpe", "grid")
        assert problem_of(text=text) == (
            "small.yaml:11: search.parameters.losses.tau: a grid needs a step, or type: "
            "categorical with choices"
        )

    def test_a_grid_that_nobody_could_run(self) -> None:
        seeds = search("training.seed", "{type: int, low: 1, high: 30000}")
        assert problem_of(seeds, text=GRID) == (
            "small.yaml:10: search.parameters: the grid has 150000 points; allowed: at most "
            "100000; use larger steps or another sampler"
        )

    def test_trials_and_a_continuous_parameter_are_both_named(self) -> None:
        assert problems_of("search.sampler=grid") == (
            "small.yaml:10: search.trials: found 12; a grid runs all its points: leave it out",
            "small.yaml:12: search.parameters.losses.tau: a grid needs a step, or type: "
            "categorical with choices",
        )


floats = st.decimals(-1000, 1000, places=3, allow_nan=False).map(float)
steps = st.decimals("0.001", 500, places=3, allow_nan=False).map(float)


@settings(deadline=None)  # machines are shared
@given(floats, floats, steps)
def test_stepped_values_are_those_of_optuna(a: float, b: float, step: float) -> None:
    low, high = min(a, b), max(a, b)
    parameter = FloatParameter(type="float", low=low, high=high, step=step)
    with warnings.catch_warnings(action="ignore"):  # it says that it lowers `high`
        theirs = optuna.distributions.FloatDistribution(low, high, step=step)
    assert parameter.ends[-1] == pytest.approx(theirs.high)
    count = parameter.num_values
    assert count is not None
    assert parameter.value_at(count - 1) == parameter.ends[-1]
    for index in (0, count // 2, count - 1):
        assert parameter.snap(low + index * step) == parameter.value_at(index)


@settings(deadline=None)  # machines are shared
@given(st.integers(-50, 50), st.integers(0, 100), st.integers(1, 30))
def test_whole_values_are_those_of_range(low: int, width: int, step: int) -> None:
    parameter = IntParameter(type="int", low=low, high=low + width, step=step)
    assert parameter.values() == list(range(low, low + width + 1, step))
    assert parameter.ends[-1] == parameter.values()[-1]


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "float", "low": 0.5, "high": 0.97, "step": 0.1},
        {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        {"type": "float", "low": -1.0, "high": 1.0},
        {"type": "float", "low": 1.0, "high": 1.0},
        {"type": "int", "low": 2, "high": 9, "step": 3},
        {"type": "int", "low": 1, "high": 1},
        {"type": "categorical", "choices": ["a", None, 3]},
    ],
)
def test_draws_and_ends_are_values(raw: dict[str, object]) -> None:
    adapter: TypeAdapter[Parameter] = TypeAdapter(Parameter)
    parameter = adapter.validate_python(raw)
    generator = random.Random(0)
    drawn = [parameter.draw(generator) for _ in range(50)]
    if parameter.num_values is not None:
        assert {*drawn, *parameter.ends} <= set(parameter.values())
    else:
        assert isinstance(parameter, FloatParameter)
        assert all(parameter.low <= float(str(value)) <= parameter.high for value in drawn)
        assert len(set(drawn)) > 1


def test_a_seed_has_too_many_values_to_list_but_is_counted() -> None:
    parameter = IntParameter(type="int", low=0, high=2**31 - 1)
    assert parameter.num_values == 2**31
    assert parameter.ends == (0, 2**31 - 1)


class TestParametersAgainstTheirSettings:
    @pytest.mark.parametrize(
        ("path", "parameter", "where", "message"),
        [
            ("losses.margin", "{type: float, low: 0.3, high: 0.1}", "low",
             "found 0.3; allowed: at most high, 0.1"),
            ("losses.margin", "{type: float, low: 0, high: 0.1, log: true}", "low",
             "found 0.0 with log: true; allowed: a number > 0"),
            ("losses.margin", "{type: float, low: 0.1, high: 0.2, log: true, step: 0.1}", "step",
             "found step together with log: true; allowed: one of them"),
            ("model.num_scales", "{type: int, low: 1, high: 8, log: true, step: 2}", "step",
             "found step together with log: true; allowed: one of them"),
            ("model.num_scales", "{type: int, low: 0, high: 8, log: true}", "low",
             "found 0 with log: true; allowed: a number > 0"),
            ("losses.margin", "{type: float, low: 0.1, high: 0.2, step: 0}", "step",
             "found 0; allowed: a number > 0, or null"),
            ("losses.margin", "{type: float, low: -0.1, high: 0.2}", "low",
             "found -0.1; allowed: a number >= 0"),
            ("model.dropout", "{type: float, low: 0.1, high: 1}", "high",
             "found 1.0; allowed: a number >= 0 and < 1"),
            ("losses.margin", "{type: float, low: 0.1}", "high", "missing; allowed: a number"),
            ("losses.margin", "{type: float, low: a, high: 1}", "low",
             "found 'a'; allowed: a number"),
            ("losses.margin", "{type: float, low: 0.1, high: .inf}", "high",
             "found Infinity; allowed: a number"),
            ("losses.margin", "{type: float, low: 0.1, hihg: 1, high: 1}", "hihg",
             "unknown key 'hihg'; allowed: when, type, low, high, log, step; did you mean high?"),
            ("model.num_clips", "{type: float, low: 16, high: 48}", "type",
             "found float, but model.num_clips takes whole numbers (allowed: a whole number >= 2); "
             "use type: int"),
            ("model.num_clips", "{type: int, low: 16.5, high: 48}", "low",
             "found 16.5; allowed: a whole number"),
            ("losses.cross_branch", "{type: int, low: 1, high: 2}", "type",
             "found int, but losses.cross_branch takes no numbers (allowed: one of off, fixed, "
             "adaptive); use type: categorical"),
            ("losses.cross_branch", "{type: categorical, choices: [on, fixed]}", "choices",
             "found 'on'; allowed: one of off, fixed, adaptive"),
            ("losses.cross_branch", "{type: categorical, choices: [off, adaptiv]}", "choices",
             "found 'adaptiv'; allowed: one of off, fixed, adaptive; did you mean adaptive?"),
            ("losses.cross_branch", "{type: categorical, choices: []}", "choices",
             "found an empty list; allowed: one value or more"),
            ("losses.cross_branch", "{type: categorical, choices: [off, off]}", "choices",
             "found 'off' twice; allowed: once"),
            ("losses.levels", "{type: categorical, choices: [[32, 5], published]}", "choices",
             "found [32, 5] as a choice; allowed: text, numbers, true, false, null"),
        ],
    )  # fmt: skip
    def test_refused(self, path: str, parameter: str, where: str, message: str) -> None:
        override = search(path, parameter)
        place = f"search.parameters.{path}.{where}"
        assert problem_of(override) == f"--set {override}: {place}: {message}"

    @pytest.mark.parametrize(
        ("parameter", "message"),
        [
            ("{low: 1, high: 2}", "type is missing; allowed: float, int, categorical"),
            ("{type: flaot}", "found type 'flaot'; allowed: float, int, categorical; did you mean "
             "float?"),
            ("5", "found 5; allowed: a mapping (key: value)"),
        ],
    )  # fmt: skip
    def test_kinds_that_are_none(self, parameter: str, message: str) -> None:
        override = search("losses.margin", parameter)
        assert problem_of(override) == f"--set {override}: {message}"

    def test_unknown_setting(self) -> None:
        override = search("losses.margn", "{type: float, low: 0.1, high: 0.2}")
        assert problem_of(override) == (
            f"--set {override}: unknown setting 'losses.margn'; did you mean losses.margin?"
        )

    def test_a_setting_that_is_like_nothing(self) -> None:
        override = search("zzz.qqqqq", "{type: float, low: 0.1, high: 0.2}")
        assert problem_of(override).endswith(
            "unknown setting 'zzz.qqqqq'; allowed: a setting of model, losses, optimizer, "
            "training, evaluation, e.g. losses.tau"
        )

    def test_a_section_is_no_setting(self) -> None:
        text = SPEC.replace("losses.tau:", "evaluation:")
        assert problem_of(text=text) == (
            "small.yaml:12: search.parameters.evaluation: a section of settings, not one setting; "
            "allowed: evaluation.relevance, evaluation.best_epoch_by"
        )

    def test_whole_numbers_suit_a_setting_that_takes_any(self) -> None:
        spec = spec_of(search("losses.tcpl_angle_weight", "{type: int, low: 5, high: 60}"))
        assert resolve(spec, {"losses.tcpl_angle_weight": 7}).losses.tcpl_angle_weight == 7.0


class TestCombinations:
    def test_a_corner_that_cannot_be_trained_names_what_matters(self) -> None:
        clips = search("model.num_clips", "{type: int, low: 16, high: 48, step: 16}")
        override = search("losses.smallest_level", "{type: int, low: 5, high: 20}")
        more = ("losses.num_levels=5", "model.merge_ratio=0.7", clips, override)
        first = problems_of(*more)[0]
        assert first == (
            f"--set {clips}: with model.num_clips 16, losses.smallest_level 20: "
            "losses.smallest_level 20 must be below model.num_clips 16"
        )

    def test_the_published_schedule_is_for_one_number_of_clips(self) -> None:
        clips = search("model.num_clips", "{type: int, low: 16, high: 48, step: 16}")
        problem = problem_of(clips, "losses.num_levels=5")
        assert problem.startswith(f"--set {clips}: with model.num_clips 16: the published merge")

    def test_a_ratio_and_a_schedule_exclude_each_other(self) -> None:
        ratio = search("model.merge_ratio", "{type: float, low: 0.5, high: 1}")
        assert problem_of(ratio, "model.merge_schedule=[80, 52, 32]") == (
            f"--set {ratio}: with model.merge_ratio 0.5: give merge_ratio or an explicit "
            "merge_schedule, not both"
        )

    def test_a_choice_that_only_another_choice_spoils(self) -> None:
        heads = search("model.num_heads", "{type: categorical, choices: [4, 8]}")
        sizes = search("model.hidden_size", "{type: categorical, choices: [60, 64]}")
        text = SPEC.replace("  model.hidden_size: 64\n", "")
        assert problem_of(heads, sizes, text=text) == (
            f"--set {heads}: with model.num_heads 8, model.hidden_size 60: hidden_size 60 is not a "
            "multiple of num_heads 8"
        )

    def test_settings_that_are_wrong_for_all_trials_are_blamed_themselves(self) -> None:
        assert problem_of("model.num_heads=5").startswith(
            "--set model.num_heads=5: settings.model: hidden_size 64"
        )

    def test_more_corners_than_are_tried_one_by_one_are_sampled(self) -> None:
        weights = [
            "infonce_clip_weight", "infonce_frame_weight", "triplet_weight", "margin",
            "tcpl_distance_weight", "tcpl_angle_weight", "cbva_weight", "hard_negative_pool",
        ]  # fmt: skip
        choices = "{type: categorical, choices: [1, 2, 3, 4]}"
        spec = spec_of(*(search(f"losses.{name}", choices) for name in weights))
        assert space_problems(spec) == []

    def test_between_the_corners(self) -> None:
        # 2 and 6 heads divide 48, as does 3; 5 does not.
        heads = search("model.num_heads", "{type: int, low: 2, high: 6}")
        problem = problem_of(heads, "model.hidden_size=48")
        assert problem == (
            f"--set {heads}: with model.num_heads 5: hidden_size 48 is not a multiple of "
            "num_heads 5"
        )
