"""Plans: what fits, what it costs at least and at most, and how it reads."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.capacity import TRIAL_BASE_BYTES, Resources, trials_that_fit
from orchestrator.errors import SpecError
from orchestrator.plan import build_plan, duration, shortest_trial_epochs
from orchestrator.spec_sections import TrialResources
from tests.sweep.spec_texts import spec_of


@pytest.mark.parametrize(
    ("cpus", "gpus", "available", "expected"),
    [
        (1, 0.0, Resources(2), 2),
        (2, 0.0, Resources(7), 3),
        (1, 1.0, Resources(16, 3), 3),
        (1, 0.5, Resources(16, 3), 6),
        (1, 0.4, Resources(16, 3), 6),  # twice on each GPU, never across two
        (1, 0.1, Resources(64, 1), 10),
        (1, 0.7, Resources(16, 4), 4),
        (4, 0.25, Resources(8, 1), 2),
        (1, 0.0, Resources(16, 0, 3 * TRIAL_BASE_BYTES), 3),
        (1, 0.0, Resources(16, 0, 1), 1),
    ],
)
def test_how_many_trials_fit(cpus: int, gpus: float, available: Resources, expected: int) -> None:
    assert trials_that_fit(TrialResources(cpus=cpus, gpus=gpus), available) == expected


@pytest.mark.parametrize(
    ("trial", "available", "message"),
    [
        (
            TrialResources(cpus=8),
            Resources(2),
            "resources.cpus: a trial asks for 8 CPUs, there are 2 CPUs; allowed: at most 2",
        ),
        (
            TrialResources(gpus=0.5),
            Resources(2),
            "resources.gpus: a trial asks for 0.5 GPU, there are 0 GPUs; allowed: at most 0",
        ),
    ],
)
def test_what_can_never_fit(trial: TrialResources, available: Resources, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        trials_that_fit(trial, available)
    assert caught.value.problems == (message,)


def test_both_shortages_are_named() -> None:
    spec = spec_of("resources={cpus: 4, gpus: 1}")
    with pytest.raises(SpecError) as caught:
        build_plan(spec, Resources(1))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("overrides", "least", "most"),
    [
        ((), 11 * 3 + 9, 108),  # asha from epoch 3: all but the best end there
        (("early_stopping.method=none",), 108, 108),
        (("early_stopping.method=none", "training.patience_epochs=4"), 12 * 5, 108),
        (("training.patience_epochs=4",), 11 * 3 + 5, 108),
        (("training.patience_epochs=1",), 12 * 2, 108),
        (("training.patience_epochs=null", "early_stopping.method=none"), 108, 108),
        (("search.trials=1",), 9, 9),
    ],
)
def test_bounds_of_epochs(overrides: tuple[str, ...], least: int, most: int) -> None:
    plan = build_plan(spec_of(*overrides), Resources(2))
    assert (plan.epochs_least, plan.epochs_most) == (least, most)


@settings(deadline=None)  # machines are shared
@given(st.integers(1, 40), st.integers(1, 9), st.integers(2, 30), st.booleans())
def test_bounds_are_bounds(trials: int, rung: int, budget: int, patient: bool) -> None:
    method = "asha" if rung < budget else "none"
    stopping = f"early_stopping={{method: {method}, first_rung: {rung}, max_epochs: {budget}}}"
    patience = f"training.patience_epochs={'null' if patient else 2}"
    spec = spec_of(f"search.trials={trials}", stopping, patience, "optimizer.schedule_epochs=30")
    plan = build_plan(spec, Resources(3), seconds_per_epoch=2.0)
    assert trials <= plan.epochs_least <= plan.epochs_most == trials * budget
    assert 1 <= plan.trials_at_once <= min(3, trials)
    assert plan.seconds is not None
    least, most = plan.seconds
    assert 2.0 * shortest_trial_epochs(spec) <= least <= most


def test_concurrency_bounds_from_above_only() -> None:
    assert build_plan(spec_of("concurrency=1"), Resources(4)).trials_at_once == 1
    assert build_plan(spec_of("concurrency=null"), Resources(4)).trials_at_once == 4
    assert build_plan(spec_of("search.trials=3"), Resources(4)).trials_at_once == 3
    plan = build_plan(spec_of("concurrency=6"), Resources(4))
    assert plan.trials_at_once == 4
    assert plan.warnings == ("concurrency 6: only 4 trials fit at once",)


def test_memory_that_lets_fewer_run_is_warned_about() -> None:
    plan = build_plan(spec_of(), Resources(4, 0, 2 * TRIAL_BASE_BYTES))
    assert plan.trials_at_once == 2
    assert plan.warnings == (
        "memory lets only 2 trials run at once: each process takes 345 MiB before it holds any "
        "data",
    )


def test_warnings_of_the_spec_are_the_plans() -> None:
    plan = build_plan(spec_of("objective.direction=minimize"), Resources(2))
    assert plan.warnings == ("objective.direction minimize: val/SumR is better when larger",)


def test_time_is_counted_in_waves() -> None:
    plan = build_plan(spec_of("early_stopping.method=none", "search.trials=5"), Resources(2), 1.0)
    assert plan.seconds == (5 * 9 / 2, 3 * 9)


def test_json() -> None:
    plan = build_plan(spec_of(), Resources(2), seconds_per_epoch=1.5).to_dict()
    assert json.loads(json.dumps(plan)) == plan
    assert plan["sweep"] == "small"
    assert plan["trials"] == 12
    assert plan["trials_at_once"] == 2
    assert plan["max_epochs"] == 9
    assert plan["epochs"] == {"least": 42, "most": 108}
    assert plan["seconds"] == {"least": 31.5, "most": 81.0}
    assert plan["available"] == {"cpus": 2, "gpus": 0, "memory_bytes": None}
    assert plan["spec"]["register"] == {"top": 1}


def test_no_time_before_an_epoch_was_timed() -> None:
    assert build_plan(spec_of(), Resources(2)).to_dict()["seconds"] is None


def test_the_plan_to_read() -> None:
    overrides = (
        "search.parameters.losses.cross_branch={type: categorical, choices: [off, adaptive]}",
        "search.parameters.model.num_scales={type: int, low: 1, high: 8, log: true}",
        "search.parameters.losses.margin={type: float, low: 0.1, high: 0.3, step: 0.1}",
        "preset=tvr",
        "resources.gpus=0.5",
        "objective.direction=minimize",
        "losses.hard_negative_epoch=null",
    )
    available = Resources(2, 1, 8 * 2**30)
    assert (
        build_plan(spec_of(*overrides), available, 2.0).render()
        == """\
sweep small: Which tau?
  data       synthetic, made on this machine
  settings   preset tvr
             training.epochs = 9
             model.hidden_size = 64
             optimizer.schedule_epochs = 9
             losses.hard_negative_epoch = null
  objective  minimize val/SumR
  search     tpe, seed 1, over
             losses.tau: 0.5 to 0.9
             losses.cross_branch: off | adaptive
             model.num_scales: 1 to 8, logarithmic
             losses.margin: 0.1 to 0.3 by 0.1
  trials     12, 2 at once (2 CPUs, 1 GPU, 8.0 GiB of memory)
  each       1 worker with 1 CPU and 0.5 GPU
  epochs     at most 9 a trial, 42 to 108 in all; asha from 3
  time       roughly 42 s to 1.8 min at 2 s an epoch, and the start
warning: objective.direction minimize: val/SumR is better when larger"""
    )


def test_an_unknown_time_is_said() -> None:
    text = build_plan(spec_of("data=/store"), Resources(2)).render()
    assert "time       not known before an epoch was timed" in text
    assert "data       /store" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59, "59 s"), (90, "1.5 min"), (700, "12 min"), (5400, "1.5 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_resources_of_this_machine() -> None:
    here = Resources.here()
    assert here.cpus >= 1
    assert here.memory_bytes is not None
