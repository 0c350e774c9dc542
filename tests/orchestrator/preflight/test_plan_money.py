"""What a plan says of money: expected and at most, by the nodes that trials are packed onto."""

from pathlib import Path

import pytest

from orchestrator.base import machine
from orchestrator.cluster import machine_kinds
from orchestrator.cluster.capacity import Node
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.commands.plan_text import render_plan
from orchestrator.preflight.epoch_time import EpochTime, TimeRange
from orchestrator.preflight.estimate import trial_needs
from orchestrator.preflight.plan import Plan, build_plan
from orchestrator.preflight.plan_money import PlanMoney, total_money
from tests.orchestrator.spec.spec_texts import spec_of

PRICES = (
    "prices={currency: EUR, gpu_hour: {A10G: 2, H100: 8}, spot: {gpu_hour: {A10G: 1}}}",
    "resources={cpus: 4, gpus: 1}",
)
SPOT = {"accelerator": "A10G", "ray.io/market-type": "spot"}
ON_DEMAND = {"accelerator": "A10G", "ray.io/market-type": "on-demand"}
HOUR = TimeRange(3600, 3600, 3600)


@pytest.fixture(autouse=True)
def no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine_kinds, "BOOTSTRAP_FILE", tmp_path / "none")


def plan_of(*nodes: Node, overrides: tuple[str, ...] = PRICES, timed: bool = True) -> Plan:
    """Twelve trials of 3 to 9 epochs, an hour each."""
    spec = spec_of(*overrides)
    packing = pack_or_refuse(trial_needs(spec.resources, None), nodes)
    time = EpochTime.over_space([1.0], HOUR, "sizes") if timed else None
    return build_plan(spec, packing, time)


def money_of(plan: Plan) -> PlanMoney:
    assert plan.money is not None
    return plan.money


def test_spot_and_on_demand_are_apart_where_trials_run_on_both() -> None:
    plan = plan_of(Node(12, 3, labels=SPOT), Node(4, 1, labels=ON_DEMAND))
    money, epochs = money_of(plan), plan.epochs
    assert money.band is not None
    assert money.band.least == epochs.least
    assert money.band.expected == pytest.approx(epochs.expected * 1.25)
    assert money.band.most == epochs.most * 2
    assert (money.spot, money.on_demand) == (epochs.expected, 2 * epochs.expected)
    text = render_plan(plan)
    assert f"money      {money.band.expected:.2f} EUR expected, at most 216.00 EUR\n" in text
    assert "if all run on spot machines, " in text
    assert plan.to_dict()["money"]["band"]["most"] == 216


def test_the_most_allows_for_the_kinds_that_may_come_instead() -> None:
    from dataclasses import replace

    plan = plan_of(Node(4, 1, labels=SPOT))
    others = (Node(4, 1, labels=ON_DEMAND), Node(2, 0, labels={"instance-type": "cpu"}))
    money = money_of(replace(plan, others=others))
    assert money.band is not None
    assert (money.band.least, money.band.most) == (plan.epochs.least, plan.epochs.most * 2)
    assert money.lacks == ()


def test_what_has_no_price_is_left_out_and_said() -> None:
    plan = plan_of(Node(4, 1, labels={"accelerator": "T4"}), Node(4, 1, labels=SPOT))
    assert "left out: no gpu_hour price for T4" in render_plan(plan)
    alone = plan_of(Node(4, 1, labels={"accelerator": "H10"}))
    assert money_of(alone).band is None
    text = "money      not known: no gpu_hour price for H10; did you mean H100?"
    assert text in render_plan(alone)


def test_a_machine_that_is_not_known_counts_at_the_highest_price() -> None:
    plan = plan_of(Node(4, 1))
    money = money_of(plan)
    assert money.band is not None
    assert money.band.most == plan.epochs.most * 8
    assert "at the highest price, as the kind of the machine is not known" in render_plan(plan)


def test_this_machine_is_known_by_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = (machine.Gpu("0", "NVIDIA H100 80GB HBM3"),)
    monkeypatch.setattr("orchestrator.cluster.capacity.visible_gpus", lambda: seen)
    assert machine_kinds.kind_of(Node.here().labels, {}).accelerator == "H100"
    monkeypatch.setattr("orchestrator.cluster.machine_kinds.visible_gpus", lambda: seen)
    assert machine_kinds.this_kind().accelerator == "H100"


def test_without_prices_nothing_is_said() -> None:
    plan = plan_of(Node(4), overrides=("resources={cpus: 4}",))
    assert "money" not in render_plan(plan)
    assert "money" not in plan.to_dict()


def test_a_budget_of_money_is_shown_and_unknown_times_are_said() -> None:
    plan = plan_of(Node(4, 1), overrides=(*PRICES, "budget={money: 50, trials: 8}"), timed=False)
    text = render_plan(plan)
    assert "budget     8 trials, 50 EUR; a trial that cannot finish" in text
    assert "money      not known: no epoch is timed yet" in text


def test_parts_of_a_joint_sweep_add_up() -> None:
    money = money_of(plan_of(Node(4, 1, labels=SPOT)))
    total = total_money([money, money])
    assert total is not None
    assert total.band is not None
    assert money.band is not None
    assert total.band.most == 2 * money.band.most
    assert total_money([None]) is None
    assert total_money([money, money_of(plan_of(Node(4, 1), timed=False))]) is None
