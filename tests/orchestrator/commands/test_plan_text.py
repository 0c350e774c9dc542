"""How a plan reads."""

import pytest

from orchestrator.cluster.capacity import MemoryNeed, Node
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.commands.plan_text import duration, render_plan, short
from orchestrator.preflight.epoch_time import EpochTime
from orchestrator.preflight.estimate import trial_needs
from orchestrator.preflight.plan import Probe, build_plan
from orchestrator.preflight.probing import probe_request
from orchestrator.spec.data import data_size
from orchestrator.spec.search_space import drawn_settings
from prvr_model.training.probe_messages import ProbeResult, ProbeStage
from tests.orchestrator.preflight.test_plan import GIB, plan_of
from tests.orchestrator.spec.spec_texts import spec_of

OVERRIDES = (
    "search.parameters.losses.cross_branch={type: categorical, choices: [off, adaptive]}",
    "search.parameters.losses.tau.when={losses.cross_branch: adaptive}",
    "search.parameters.model.num_scales={type: int, low: 1, high: 8, log: true}",
    "search.parameters.losses.margin={type: float, low: 0.1, high: 0.3, step: 0.1}",
    "preset=tvr",
    "resources.gpus=0.5",
    "objective.direction=minimize",
    "losses.hard_negative_epoch=null",
)


def test_a_plan_for_this_machine() -> None:
    plan = plan_of(spec_of(*OVERRIDES), Node(2, 1, 8 * GIB), 2.0, MemoryNeed(GIB))
    assert (
        render_plan(plan)
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
             losses.tau: 0.5 to 0.9, where losses.cross_branch is adaptive
             losses.cross_branch: off | adaptive
             model.num_scales: 1 to 8, logarithmic
             losses.margin: 0.1 to 0.3 by 0.1
  each       1 worker with 1 CPU, 0.5 GPU, 1.0 GiB of memory
  nodes                    CPUs  GPUs   memory  trials
             this machine     2     1  8.0 GiB       2
  trials     12, 2 at once
  epochs     at most 9 a trial, 42 to 108 in all, about 61 expected; asha from epoch 3
  an epoch   roughly 2 s on average, 2 s to 2 s over the space
             from the sizes alone: up to 3 times more or less; --probe measures it
  time       roughly 1.0 min expected, 42 s to 1.8 min, plus start-up
  GPU-hours  0.017 expected, 0.012 to 0.03
warning: objective.direction minimize: val/SumR is better when larger"""
    )


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("trials: 24, sampler: random", "and the search ends after the last"),
        ("trials: 5, sampler: tpe", "6 different points; 5 trials may repeat some"),
        ("trials: 3, sampler: random", None),
        ("sampler: grid", None),
    ],
)
def test_a_space_of_few_points_says_that_trials_repeat(search: str, said: str | None) -> None:
    space = (
        "losses.margin: {type: float, low: 0.1, high: 0.35, step: 0.1}, "
        "losses.cross_branch: {type: categorical, choices: [off, fixed]}"
    )
    spec = spec_of(f"search={{seed: 7, parameters: {{{space}}}, {search}}}")
    plan = plan_of(spec, Node(2, 0, 8 * GIB))
    lines = [line.strip() for line in render_plan(plan).splitlines() if "points" in line]
    assert [line.endswith(said) for line in lines] == ([True] if said else [])
    assert plan.to_dict()["points"] == 6


def test_a_space_without_steps_has_no_number_of_points() -> None:
    plan = plan_of(spec_of(), Node(2, 0, 8 * GIB))
    assert plan.to_dict()["points"] is None
    assert "different points" not in render_plan(plan)


def cluster_lines(*overrides: str) -> list[str]:
    """From the nodes on, of a probed plan for a cluster of three nodes."""
    spec = spec_of("resources={workers: 2, gpus: 1}", *overrides)
    cluster = [
        Node(0, 0, 30 * GIB, "10.0.0.1 (head)", {"train_driver": 1}),
        Node(16, 3, 120 * GIB, "10.0.0.2", labels={"accelerator": "A10G"}),
        Node(8, 2, None, "10.0.0.3", labels={"accelerator": "T4"}),
    ]
    needs = trial_needs(spec.resources, MemoryNeed(2 * GIB, is_estimate=True))
    stage = ProbeStage(
        videos=40,
        val_videos=20,
        val_captions=70,
        steps_s=(2.0,) * 5,
        evaluations_s=(0.5,) * 5,
        others_s=(0.1,) * 5,
    )
    request = probe_request(drawn_settings(spec, 1), data_size(spec.data), spec.speed, 2)
    result = ProbeResult(stages=(stage,), hardware="NVIDIA A10G", memory_bytes=GIB)
    plan = build_plan(
        spec,
        pack_or_refuse(needs, cluster),
        EpochTime(620.0, (480.0, 700.0), (240.0, 1100.0), "probe"),
        Probe("10.0.0.2", result, request),
        ["in use now: 1 GPU; trials wait for them"],
    )
    lines = render_plan(plan).splitlines()
    return lines[next(n for n, line in enumerate(lines) if line.startswith("  each")) :]


def test_a_plan_for_a_cluster() -> None:
    assert cluster_lines() == [
        "  each       2 workers with 1 CPU, 1 GPU, about 2.0 GiB of memory",
        "  nodes                       CPUs  GPUs     memory  workers",
        "             10.0.0.1 (head)     0     0   30.0 GiB        0",
        "             10.0.0.2, A10G     16     3  120.0 GiB        2",
        "             10.0.0.3, T4        8     2          ?        2",
        "  trials     12, 2 at once",
        "  epochs     at most 9 a trial, 42 to 108 in all, about 61 expected; asha from epoch 3",
        "  an epoch   10 min on average, 4.0 min to 18 min over the space",
        "             measured on 10.0.0.2 (NVIDIA A10G): 5 steps of 40 of 64 videos",
        "  time       5.3 h expected, 2.8 h to 10 h, plus start-up",
        "  GPU-hours  21 expected, 11 to 42",
        "warning: in use now: 1 GPU; trials wait for them",
    ]


def test_room_that_is_not_used_is_said() -> None:
    assert "  trials     12, 1 at once (there is room for 2)" in cluster_lines("concurrency=1")


def test_without_early_stopping_there_is_nothing_to_expect() -> None:
    plan = plan_of(spec_of("early_stopping.method=none"), Node(2), 1.0)
    assert "  epochs     at most 9 a trial, 108 in all\n" in render_plan(plan)
    patient = plan_of(spec_of("early_stopping.method=none", "training.patience_epochs=4"), Node(2))
    assert "  epochs     at most 9 a trial, 60 to 108 in all\n" in render_plan(patient)


def test_an_unknown_time_is_said() -> None:
    text = render_plan(plan_of(spec_of("data=/store"), Node(2)))
    assert "time       not known before an epoch is timed" in text
    assert "an epoch   not known before an epoch is timed" in text
    assert "data       /store" in text
    assert "hours" not in text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59, "59 s"), (90, "1.5 min"), (700, "12 min"), (5400, "1.5 h")],
)
def test_duration(number: float, text: str) -> None:
    assert duration(number) == text


def test_short_times_have_two_digits() -> None:
    numbers = (0.034567, 1.26, 12.6, 99.0, 101.0)
    assert [short(one) for one in numbers] == ["0.035 s", "1.3 s", "13 s", "99 s", "1.7 min"]
