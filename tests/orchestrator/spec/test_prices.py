"""The section `prices`, its file in the environment, and what needs it."""

from pathlib import Path

import pytest

from orchestrator.base.errors import SpecError
from orchestrator.spec.changes import extensions, spec_changes
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.loading import load_any, load_spec, read_spec
from orchestrator.spec.prices import MachineKind, Prices, load_prices
from orchestrator.spec.sections import TrialResources
from tests.orchestrator.spec.spec_texts import SPEC, problem_of, problems_of, spec_of

PRICES = (
    "prices={currency: EUR, gpu_hour: {H100: 3.2, A100: 1.9, g5.2xlarge: 1.2}, cpu_hour: 0.5, "
    "spot: {gpu_hour: {H100: 1.1}, cpu_hour: 0.1}}"
)
ON_GPU = TrialResources(cpus=4, gpus=0.5)


def prices_of(text: str = PRICES) -> Prices:
    found = spec_of(text).prices
    assert found is not None
    return found


def test_an_hour_of_a_worker_is_the_sum_of_its_devices() -> None:
    prices = prices_of()
    assert prices.hour(MachineKind("H100"), ON_GPU) == pytest.approx(0.5 * 3.2 + 4 * 0.5)
    assert prices.hour(MachineKind("h100", is_spot=True), ON_GPU) == pytest.approx(0.55 + 0.4)
    assert prices.hour(MachineKind("T4"), TrialResources(cpus=2)) == 1


def test_a_machine_type_wins_over_its_accelerator() -> None:
    assert prices_of().hour(MachineKind("H100", "g5.2xlarge"), ON_GPU) == pytest.approx(0.6 + 2)
    assert prices_of().hour(MachineKind("A100", "other"), ON_GPU) == pytest.approx(0.95 + 2)


@pytest.mark.parametrize(
    ("kind", "lack"),
    [
        (MachineKind("H10"), "no gpu_hour price for H10; did you mean H100?"),
        (
            MachineKind("A100", is_spot=True),
            "no gpu_hour price for A100 (spot); did you mean A100?",
        ),
        (MachineKind(is_spot=True, instance="zz"), "no gpu_hour price for zz (spot)"),
    ],
)
def test_what_has_no_price_costs_nothing_known(kind: MachineKind, lack: str) -> None:
    assert prices_of().hour(kind, ON_GPU) is None
    assert prices_of().lacks(kind, ON_GPU) == lack


def test_cpus_beside_a_gpu_are_part_of_its_price_where_none_have_one() -> None:
    alone = prices_of("prices={currency: EUR, gpu_hour: 2, spot: {gpu_hour: 1}}")
    assert alone.hour(MachineKind(is_spot=True), ON_GPU) == 0.5
    assert alone.hour(MachineKind(), TrialResources()) is None
    apart = prices_of("prices={currency: EUR, gpu_hour: 2, cpu_hour: 1, spot: {gpu_hour: 1}}")
    assert apart.hour(MachineKind(is_spot=True), ON_GPU) is None


def test_an_unknown_machine_has_the_highest_price() -> None:
    assert prices_of().hour(MachineKind(), ON_GPU) == pytest.approx(0.5 * 3.2 + 4 * 0.5)
    only_spot = prices_of("prices={currency: EUR, cpu_hour: 1, spot: {gpu_hour: 9, cpu_hour: 3}}")
    assert only_spot.hour(MachineKind(), TrialResources()) == 3


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("{currency: EUR}", "found no price; allowed: gpu_hour, cpu_hour, or both"),
        ("{gpu_hour: 1}", "currency: missing; allowed: text"),
        ("{currency: E U, gpu_hour: 1}", "currency: found 'E U'; allowed: a name such as EUR"),
        ("{currency: EUR, gpu_hours: 1, cpu_hour: 1}", "did you mean gpu_hour?"),
        ("{currency: EUR, gpu_hour: -1}", "gpu_hour: found -1; allowed: a number >= 0, or {NAME"),
        ("{currency: EUR, gpu_hour: .inf}", "gpu_hour: found Infinity; allowed: a number >= 0"),
        ("{currency: EUR, gpu_hour: true}", "gpu_hour: found true; allowed: a number >= 0"),
        ("{currency: EUR, gpu_hour: {}}", "gpu_hour: found no name"),
        ("{currency: EUR, gpu_hour: {A: 1, a: 2}}", "gpu_hour.a: found twice, as case does not"),
        ("{currency: EUR, cpu_hour: 1, spot: {cpu: 1}}", "prices.spot.cpu: unknown key 'cpu'"),
        ("{currency: EUR, gpu_hour: {H100: .nan}}", "prices.gpu_hour.H100: found NaN; allowed: a"),
    ],
)
def test_mistakes_are_named(section: str, problem: str) -> None:
    assert problem in "\n".join(problems_of(f"prices={section}"))


def test_the_resolved_spec_loads_again_equal() -> None:
    spec = spec_of(PRICES, "resources.gpus=1", "budget.money=50", "name=again")
    assert read_spec(spec.dump_yaml()) == spec
    assert "money" not in spec_of("budget.trials=3").dump_yaml()
    assert "prices" not in spec_of().dump_yaml()


def test_names_with_dots_can_be_set_alone() -> None:
    spec = spec_of(PRICES, "prices.spot.gpu_hour.g5.2xlarge=0.4")
    assert spec.prices is not None
    assert spec.prices.spot is not None
    assert spec.prices.spot.gpu_hour == {"H100": 1.1, "g5.2xlarge": 0.4}


def test_a_budget_of_money_needs_prices_of_what_trials_take() -> None:
    assert problem_of("budget.money=50").endswith(
        "needs prices, in the file or in that of PRVR_PRICES"
    )
    only_gpus = "prices={currency: EUR, gpu_hour: 2}"
    assert "needs prices.cpu_hour" in problem_of("budget.money=50", only_gpus)
    spec = spec_of("budget.money=50", only_gpus, "resources.gpus=1")
    assert spec.budget is not None
    assert spec.budget.money == 50


def test_the_file_of_the_environment_is_taken_unless_the_sweep_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "space.yaml").write_text(SPEC)
    (tmp_path / "joint.yaml").write_text(
        SPEC.replace("data: builtin", "data: {a: builtin, b: ./b}")
        + "confirm: {top: 1, seeds: 2}\n"
    )
    (tmp_path / "prices.yaml").write_text("prices: {currency: CHF, cpu_hour: 2}\n")
    monkeypatch.setenv("PRVR_PRICES", str(tmp_path / "prices.yaml"))
    spec = load_spec(tmp_path / "space.yaml", ["budget.money=3"])
    assert spec.prices == Prices(currency="CHF", cpu_hour=2.0)
    joint = load_any(tmp_path / "joint.yaml", ["budget.money=3"])
    assert isinstance(joint, JointSpec)
    assert "currency: CHF" in joint.dump_yaml()
    own = load_spec(tmp_path / "space.yaml", [PRICES])
    assert own.prices is not None
    assert own.prices.currency == "EUR"
    assert load_spec(tmp_path / "space.yaml", ["prices=null"]).prices is None
    # What a study recorded is read as it is.
    assert read_spec(SPEC).prices is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("currency: EUR\ngpu_hour: x\n", "p.yaml:2: gpu_hour: found 'x'; allowed: a number >= 0"),
        ("prices:\n  currency: EUR\n  gpu_hou: 1\n", "p.yaml:3: prices.gpu_hou: unknown key"),
        ("- 1\n", "p.yaml:1: found [1]; allowed: a mapping (key: value)"),
        ("a: [\n", "p.yaml:2: not YAML (PRVR_PRICES)"),
        (None, "p.yaml: cannot be read (PRVR_PRICES): No such file or directory"),
    ],
)
def test_a_file_of_prices_is_read_strictly(tmp_path: Path, text: str | None, problem: str) -> None:
    file = tmp_path / "p.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_prices(file, "PRVR_PRICES")
    assert problem in str(caught.value)


def test_other_prices_are_an_extension() -> None:
    changes = spec_changes(spec_of(PRICES).dump_yaml(), spec_of(PRICES, "prices.gpu_hour=3"))
    assert extensions(changes) == "--prices FILE"
    assert extensions(spec_changes(spec_of(PRICES).dump_yaml(), spec_of())) is None
    poorer = spec_changes(spec_of("budget.trials=4").dump_yaml(), spec_of())
    assert "--budget trials=null" in (extensions(poorer) or "")


def test_no_file_may_say_who_is_told() -> None:
    where = "(--notify COMMAND_OR_URL), or in the environment (PRVR_NOTIFY)"
    (problem,) = problems_of(text=SPEC + "notify: https://hook.example/secret\n")
    assert problem.startswith("small.yaml:14: notify: found in a sweep, whose file may come from")
    assert where in problem
    assert "secret" not in problem
    assert where in problem_of("notify=curl")
