"""YAML 1.2 and nothing else; every mistake with its line; `--set`."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.base.errors import SpecError
from orchestrator.spec.loading import load_spec, read_spec
from orchestrator.spec.warnings import spec_warnings
from orchestrator.spec.yaml_text import SpecSyntaxError, dump_yaml, parse_yaml
from tests.locations import SEARCH_SPACES
from tests.orchestrator.spec.spec_texts import SPEC, problem_of, problems_of, spec_of

SPACES = sorted(SEARCH_SPACES.glob("*.y*ml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("7", 7),
        ("+7", 7),
        ("010", 10),
        ("0o10", 8),
        ("0xfF", 255),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("null", None),
        ("~", None),
        ("'7'", "7"),
        ('"true"', "true"),
        ("[1, a, {b: off}]", [1, "a", {"b": "off"}]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(f"a: {text}").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_read_and_refused_by_the_models() -> None:
    assert math.isnan(parse_yaml("a: .nan").value["a"])
    assert problem_of("losses.margin=.nan").startswith("--set losses.margin=.nan: found NaN;")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)  # machines are shared
@given(st.dictionaries(st.text(), values))
def test_what_is_dumped_is_read_back(value: dict[str, Any]) -> None:
    again = parse_yaml(dump_yaml(value)).value
    assert again == value
    assert repr(again) == repr(value)  # True is not 1, 1.0 is not 1


def test_every_key_has_its_line() -> None:
    lines = parse_yaml("a: 1\nb:\n  c: [2,\n    3]\n").lines
    assert lines[("a",)] == 1
    assert lines[("b", "c")] == 3
    assert lines[("b", "c", "1")] == 4


def test_equal_keys_are_refused_and_the_rest_is_read() -> None:
    document = parse_yaml("a: 1\nb: 2\na: 3\n")
    assert document.value == {"a": 1, "b": 2}
    assert document.problems == [(("a",), 3, "key found again, first in line 1; keep one")]


@pytest.mark.parametrize("key", ["3", "true", "null", "1.5"])
def test_keys_are_text(key: str) -> None:
    (problem,) = parse_yaml(f"{key}: x").problems
    assert problem == ((), 1, f"found '{key}' as a key; allowed: text")


def test_a_list_is_no_key() -> None:
    (problem,) = parse_yaml("[a]: x").problems
    assert problem == ((), 1, "found a list or mapping as a key; allowed: text")


@pytest.mark.parametrize("text", ["!!python/name:os.system x", "!mine x", "!!timestamp 2024-01-01"])
def test_tags_build_nothing(text: str) -> None:
    document = parse_yaml(f"a: {text}")
    assert isinstance(document.value["a"], str)
    assert "allowed: no tags" in document.problems[0][2]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [1", 1, "expected ',' or ']'"),
        ("a:\n\t- b", 2, "indent with spaces, not tabs"),
        ("a: 1\n---\nb: 2", 2, "expected a single document"),
        ("a: &x 1\nb: *x", 2, "the alias *x is not supported; write the value out"),
        ("a: 1\nb: \x00", 2, "is not allowed in YAML"),
        ("a: b: c", 1, "mapping values are not allowed here"),
    ],
)
def test_syntax_errors_have_one_line(text: str, line: int, message: str) -> None:
    with pytest.raises(SpecSyntaxError, match=re.escape(message)) as caught:
        parse_yaml(text)
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


def test_syntax_errors_become_spec_errors_with_their_place() -> None:
    assert problem_of(text="a: [1").startswith("small.yaml:1: not YAML: while parsing a flow")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_empty_text(text: str) -> None:
    found = "a mapping with name, question, data, search and, where wanted, more"
    assert problem_of(text=text) in (
        f"small.yaml: empty; allowed: {found}",
        f"small.yaml:1: found null; allowed: {found}",
    )


@pytest.mark.parametrize(("text", "found"), [("- a", "a list"), ("3", "3"), ("abc", "'abc'")])
def test_top_level_is_a_mapping(text: str, found: str) -> None:
    assert problem_of(text=text).startswith(f"small.yaml:1: found {found}; allowed: a mapping")


def test_the_keys_that_are_needed_are_those_that_are_missed() -> None:
    problems = problems_of(text="{}")
    assert [problem.split(":")[2].strip() for problem in problems] == ["name", "question", "data"]
    assert problems[0] == "small.yaml:1: name: missing; allowed: text"


def test_unknown_file(tmp_path: Path) -> None:
    (tmp_path / "cbva.yaml").write_text(SPEC, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "cvba.yaml")
    near = f"did you mean {tmp_path / 'cbva.yaml'}?"
    assert str(caught.value) == f"{tmp_path / 'cvba.yaml'}: no such file; {near}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load_spec(tmp_path)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"name: \xff")
    with pytest.raises(SpecError, match=r"not text in UTF-8 \(byte 6\)"):
        load_spec(tmp_path / "a.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("\ufeff" + SPEC, encoding="utf-8")
    assert load_spec(tmp_path / "a.yaml").name == "small"


def test_all_mistakes_at_once_in_the_order_of_lines() -> None:
    text = """\
name: Small
question: ""
data: buildin
preset: tvrs
settings: {model.hiden_size: 64, losses: {tau: 3, cross_branch: adaptiv}}
serach: 4
search:
  sampler: bayes
  trials: 2.5
  parameters:
    tua: {type: float, low: 0.5, high: 0.9}
    model.merge_ratio: {type: float, low: 0.3}
    model.num_heads: {type: in, low: 1, high: 2}
name: again
"""
    assert problems_of(text=text) == (
        "small.yaml:1: name: found 'Small'; allowed: a-z, 0-9, - and _, a letter or digit first, "
        "at most 64",
        "small.yaml:2: question: found ''; allowed: text, not empty",
        "small.yaml:3: data: found 'buildin'; allowed: builtin, the path of a store or "
        "synthetic: {...}; did you mean builtin? (a store of that name: ./buildin)",
        "small.yaml:4: preset: found 'tvrs'; allowed: one of tvr, activitynet, charades, "
        "qvhighlights, or null; did you mean tvr?",
        "small.yaml:5: settings.model.hiden_size: unknown setting 'model.hiden_size'; did you "
        "mean model.hidden_size?",
        "small.yaml:5: settings.losses.tau: found 3; allowed: a number >= -1 and <= 1",
        "small.yaml:5: settings.losses.cross_branch: found 'adaptiv'; allowed: one of off, fixed, "
        "adaptive; did you mean adaptive?",
        "small.yaml:6: serach: unknown key 'serach'; allowed: name, question, data, preset, "
        "settings, objective, objectives, limits, crown, search, ablation, start, confirm, budget, "
        "prices, early_stopping, resources, speed, concurrency, reuse, register, protocol; did you "
        "mean search?",
        "small.yaml:8: search.sampler: found 'bayes'; allowed: one of tpe, random, grid, "
        "qmc, gp, cmaes; did you mean cmaes?",
        "small.yaml:9: search.trials: found 2.5; allowed: a whole number >= 1, or null",
        "small.yaml:11: search.parameters.tua: unknown setting 'tua'; did you mean losses.tau?",
        "small.yaml:12: search.parameters.model.merge_ratio.high: missing; allowed: a number",
        "small.yaml:13: search.parameters.model.num_heads: found type 'in'; allowed: float, int, "
        "categorical; did you mean int?",
        "small.yaml:14: name: key found again, first in line 1; keep one",
    )


def test_a_setting_given_twice() -> None:
    text = SPEC.replace("settings:\n", "settings:\n  model: {hidden_size: 32}\n")
    assert problem_of(text=text) == (
        "small.yaml:6: settings.model.hidden_size: found twice, dotted and nested; keep one"
    )


def test_nested_and_dotted_settings_are_the_same_and_keep_their_lines() -> None:
    nested = SPEC.replace("  model.hidden_size: 64\n", "  model:\n    hidden_size: 64\n")
    assert spec_of(text=nested) == spec_of()
    assert problem_of(text=nested.replace("hidden_size: 64", "hidden_size: x")).startswith(
        "small.yaml:6: settings.model.hidden_size: found 'x'"
    )


def test_a_problem_between_settings_points_at_one_of_them() -> None:
    text = SPEC.replace("hidden_size: 64", "hidden_size: 66")
    assert problem_of(text=text) == (
        "small.yaml:5: settings.model: hidden_size 66 is not a multiple of num_heads 4"
    )


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.name)
def test_every_search_space_loads_without_warnings(space: Path) -> None:
    assert spec_warnings(load_spec(space)) == ()


def test_the_main_job_searches_what_it_promises() -> None:
    spec = load_spec(next(path for path in SPACES if path.name == "cbva.yaml"))
    assert set(spec.search.parameters) >= {
        "losses.tcpl_distance_weight",
        "losses.tcpl_angle_weight",
        "losses.cbva_weight",
        "losses.tau",
        "model.merge_ratio",
        "model.num_clips",
        "losses.num_levels",
        "model.num_scales",
    }
    assert spec.num_trials >= 12


def test_a_store_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPEC.replace("builtin", "../stores/tvr"), encoding="utf-8")
    expected = tmp_path.parent / "stores" / "tvr"
    assert load_spec(tmp_path / "a.yaml").data.store == str(expected)


def test_a_store_on_the_command_line_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    spec = load_spec(tmp_path / "a.yaml", ["data=./tvr"])
    assert spec.data.store == str(tmp_path / "here" / "tvr")


def test_the_store_of_a_uri_is_left_alone() -> None:
    assert spec_of("data=s3://bucket/tvr").data.store == "s3://bucket/tvr"


def test_a_store_is_what_a_shell_takes_it_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", f"{tmp_path}/me")
    monkeypatch.setenv("DATA", f"{tmp_path}/data")
    monkeypatch.delenv("UNSET", raising=False)
    space = tmp_path / "space.yaml"
    meant = {
        "~/x.store": f"{tmp_path}/me/x.store",
        "$DATA/x.store/": f"{tmp_path}/data/x.store",
        "a/${DATA}": f"{tmp_path}/a{tmp_path}/data",
        "file:///~/x y.store": f"file://{tmp_path}/me/x%20y.store",
        "s3://bucket/run #3": "s3://bucket/run%20%233",
    }
    for store, found in meant.items():
        space.write_text(SPEC.replace("data: builtin", f"data: {store!r}"))
        assert load_spec(space).data.store == found
        space.write_text(SPEC)
        assert load_spec(space, [f"data={store!r}"]).data.store == found.replace(
            f"{tmp_path}/a/", f"{Path.cwd()}/a/"
        )
    space.write_text(SPEC.replace("data: builtin", "data: {store: ~nobody.there/x}"))
    with pytest.raises(SpecError, match=r"space.yaml:\d+: data.store: found '~nobody.there/x'"):
        load_spec(space)
    with pytest.raises(SpecError, match=r"--set data=\$UNSET/x: .*the variable UNSET is not set"):
        load_spec(space, ["data=$UNSET/x"])


def test_a_store_that_a_study_keeps_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/elsewhere")
    for store in ("/a/$DATA/x", "s3://bucket/run#3"):
        kept = read_spec(SPEC.replace("data: builtin", f"data: {store}"))
        assert kept.data.store == store


def test_a_store_of_a_cluster_is_told_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", "/here")
    space = tmp_path / "space.yaml"
    space.write_text(SPEC)
    for store in ("~/x.store", "$DATA/x.store", "/srv/x.store"):
        there = load_spec(space, [f"data={store}"], runs_elsewhere=True)
        assert there.data.store == store


def test_resolved_text_gives_an_equal_spec() -> None:
    spec = spec_of("resources.cpus=2", "preset=tvr", "losses.cross_branch=off")
    assert read_spec(spec.dump_yaml()) == spec


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "path", "value"),
        [
            ("losses.margin=0.3", "losses.margin", 0.3),
            ("settings.losses.margin=3e-1", "losses.margin", 0.3),
            ("losses={margin: 0.3}", "losses.margin", 0.3),
            ("settings.losses={margin: 0.3}", "losses.margin", 0.3),
            ("losses.cross_branch=off", "losses.cross_branch", "off"),
            ("model.hidden_size = 32", "model.hidden_size", 32),
            ("losses.hard_negative_epoch=null", "losses.hard_negative_epoch", None),
        ],
    )
    def test_settings(self, override: str, path: str, value: object) -> None:
        assert spec_of(override).settings[path] == value

    def test_settings_that_are_not_named_stay(self) -> None:
        assert spec_of("model={num_heads: 2}").settings["model.hidden_size"] == 64

    def test_any_place_of_the_yaml(self) -> None:
        spec = spec_of(
            "search.trials=3",
            "register.top=2",
            "search.parameters.losses.tau.low=0.6",
            "search.parameters.losses.margin={type: categorical, choices: [0.1, 0.2]}",
            "data.synthetic.train_videos=8",
        )
        assert spec.num_trials == 3
        assert spec.registration.top == 2
        assert spec.search.parameters["losses.tau"].ends == (0.6, 0.9)
        assert spec.search.parameters["losses.margin"].num_values == 2
        assert spec.data.synthetic is not None
        assert spec.data.synthetic.train_videos == 8

    def test_the_last_one_wins(self) -> None:
        assert spec_of("name=a", "name=b").name == "b"

    def test_null_takes_a_parameter_away(self) -> None:
        margin = "search.parameters.losses.margin={type: float, low: 0.1, high: 0.2}"
        spec = spec_of(margin, "search.parameters.losses.tau=null")
        assert list(spec.search.parameters) == ["losses.margin"]

    @pytest.mark.parametrize("override", ["training.epochs=6", "early_stopping.max_epochs=6"])
    def test_either_name_of_the_budget_replaces_what_the_file_says(self, override: str) -> None:
        spec = spec_of(override)
        assert spec.max_epochs == spec.settings["training.epochs"] == 6

    def test_two_budgets_on_the_command_line(self) -> None:
        assert problem_of("training.epochs=6", "early_stopping.max_epochs=5") == (
            "--set early_stopping.max_epochs=5: found 5, but settings.training.epochs 6; "
            "give one of them"
        )

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("x", "allowed: path=value, e.g. search.trials=8 or losses.tau=0.7"),
            ("=3", "allowed: path=value, e.g. search.trials=8 or losses.tau=0.7"),
            ("name=", "found no value; allowed: any YAML value, null for none"),
            ("trials=3", "unknown path 'trials'; did you mean search.trials?"),
            ("lossse.margin=1", "unknown path 'lossse.margin'; did you mean losses.margin?"),
            ("search.trails=3", "unknown key 'trails'; allowed: sampler, seed, trials, "
             "parameters; did you mean trials?"),
            ("losses.margn=1", "unknown setting 'losses.margn'; did you mean losses.margin?"),
            ("losses.margin=-1", "found -1; allowed: a number >= 0"),
            ("name.x=3", "name is 'small', which has no 'x'"),
            ("search.parameters.losses.ta=null", "losses.ta is not searched; did you mean "
             "losses.tau?"),
            ("register={top: 1, top: 2}", "top: key found again, first in line 1; keep one"),
        ],
    )  # fmt: skip
    def test_each_mistake_names_its_override(self, override: str, message: str) -> None:
        assert problem_of(override) == f"--set {override}: {message}"

    def test_a_path_that_is_like_nothing(self) -> None:
        assert problem_of("qqqq=3").startswith("--set qqqq=3: unknown path 'qqqq'; allowed: name, ")

    def test_a_value_that_is_no_yaml(self) -> None:
        assert problem_of("name=[").startswith("--set name=[: the value is no YAML: while parsing")

    def test_a_conflict_with_an_override_names_the_override(self) -> None:
        assert problem_of("optimizer.schedule_epochs=4") == (
            "--set optimizer.schedule_epochs=4: settings: training.epochs 9 exceeds "
            "optimizer.schedule_epochs 4: the learning rate would be negative"
        )
        assert problem_of("model.num_heads=5") == (
            "--set model.num_heads=5: settings.model: hidden_size 64 is not a multiple of "
            "num_heads 5"
        )

    def test_mistakes_of_the_file_come_first(self) -> None:
        text = SPEC.replace("trials: 12", "trials: 0")
        first, second = problems_of("losses.margin=-1", text=text)
        assert first.startswith("small.yaml:10: search.trials: found 0")
        assert second.startswith("--set losses.margin=-1")


def test_a_section_that_is_none_is_one_mistake_only() -> None:
    with pytest.raises(SpecError) as caught:
        spec_of("resources=2")
    (problem,) = caught.value.problems
    assert problem == "--set resources=2: found 2; allowed: a mapping (key: value)"
