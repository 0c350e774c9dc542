"""Plans: what they cost at least, as expected and at most, and what they warn of."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import ProbeError, SpecError
from orchestrator.cluster.capacity import MemoryNeed, Node
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.preflight import plan as plan_module
from orchestrator.preflight.epoch_band import shortest_trial_epochs
from orchestrator.preflight.epoch_time import EpochTime, TimeRange
from orchestrator.preflight.estimate import trial_needs
from orchestrator.preflight.plan import Plan, build_plan, plan_here
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.store.writer import StoreWriter
from prvr_model.training.probe_messages import ProbeRequest, ProbeResult, ProbeStage
from tests.orchestrator.spec.spec_texts import spec_of

GIB = 2**30


def plan_of(
    spec: SweepSpec,
    node: Node,
    seconds: float | None = None,
    memory: MemoryNeed | None = None,
) -> Plan:
    """A plan for one machine, every epoch of which takes the same time."""
    packing = pack_or_refuse(trial_needs(spec.resources, memory), [node])
    if seconds is None:
        return build_plan(spec, packing)
    always = TimeRange(seconds, seconds, seconds)
    return build_plan(spec, packing, EpochTime.over_space([1.0], always, "sizes"))


def test_both_shortages_are_named() -> None:
    spec = spec_of("resources={cpus: 4, gpus: 1}")
    with pytest.raises(SpecError) as caught:
        plan_of(spec, Node(1))
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
    plan = plan_of(spec_of(*overrides), Node(2))
    assert (plan.epochs.least, plan.epochs.most) == (least, most)
    assert least <= plan.epochs.expected <= most


@given(st.integers(1, 40), st.integers(1, 9), st.integers(2, 30), st.booleans())
def test_bounds_are_bounds(trials: int, rung: int, budget: int, patient: bool) -> None:
    method = "asha" if rung < budget else "none"
    stopping = f"early_stopping={{method: {method}, first_rung: {rung}, max_epochs: {budget}}}"
    patience = f"training.patience_epochs={'null' if patient else 2}"
    spec = spec_of(f"search.trials={trials}", stopping, patience, "optimizer.schedule_epochs=30")
    plan = plan_of(spec, Node(3), 2.0)
    epochs = plan.epochs
    assert trials <= epochs.least <= epochs.expected <= epochs.most == trials * budget
    assert 1 <= plan.trials_at_once <= min(3, trials)
    seconds = plan.seconds
    assert seconds is not None
    assert 2.0 * shortest_trial_epochs(spec) <= seconds.least
    assert seconds.least <= seconds.expected <= seconds.most


def test_concurrency_bounds_from_above_only() -> None:
    assert plan_of(spec_of("concurrency=1"), Node(4)).trials_at_once == 1
    assert plan_of(spec_of("concurrency=null"), Node(4)).trials_at_once == 4
    assert plan_of(spec_of("search.trials=3"), Node(4)).trials_at_once == 3
    plan = plan_of(spec_of("concurrency=6"), Node(4))
    assert plan.trials_at_once == 4
    assert plan.warnings == ("concurrency 6: only 4 trials fit at once",)
    alone = plan_of(spec_of("concurrency=6"), Node(1))
    assert alone.warnings == ("concurrency 6: only 1 trial fits at once",)


def test_memory_that_lets_fewer_run_is_warned_about() -> None:
    memory = MemoryNeed(GIB, GIB // 8, 4, is_estimate=True)
    plan = plan_of(spec_of(), Node(4, 0, 3 * GIB), memory=memory)
    assert plan.trials_at_once == 2
    assert plan.warnings == (
        "memory lets only 2 trials fit at once, not 4: a worker takes about 1.5 GiB",
    )
    stated = plan_of(spec_of(), Node(4, 0, 3 * GIB), memory=MemoryNeed(2 * GIB))
    assert stated.warnings == (
        "memory lets only 1 trial fit at once, not 4: a worker takes 2.0 GiB",
    )


def test_memory_that_is_scarce_is_warned_about() -> None:
    memory = MemoryNeed(GIB, GIB // 8, 4, is_estimate=True)
    plan = plan_of(spec_of(), Node(4, 0, GIB), memory=memory)
    assert plan.trials_at_once == 1
    assert plan.warnings == (
        "memory may not be enough for one trial: a worker takes about 1.5 GiB; lower "
        "training.batch_videos, or say what it takes with resources.memory_gib",
    )


def test_warnings_of_the_spec_are_the_plans() -> None:
    plan = plan_of(spec_of("objective.direction=minimize"), Node(2))
    assert plan.warnings == ("objective.direction minimize: val/SumR is better when larger",)


def test_time_is_counted_in_waves() -> None:
    plan = plan_of(spec_of("early_stopping.method=none", "search.trials=5"), Node(2), 1.0)
    seconds = plan.seconds
    assert seconds is not None
    assert (seconds.least, seconds.expected, seconds.most) == (22.5, 22.5, 27)


def test_device_hours_count_every_worker() -> None:
    spec = spec_of("early_stopping.method=none", "resources={workers: 2, gpus: 1}")
    hours = plan_of(spec, Node(8, 8), 10.0).hours(1)
    assert hours is not None
    assert hours.expected == pytest.approx(12 * 9 * 10 * 2 / 3600)


def test_a_band_of_times_widens_the_bounds() -> None:
    spec = spec_of("early_stopping.method=none", "search.trials=4")
    packing = pack_or_refuse(trial_needs(spec.resources, None), [Node(2)])
    time = EpochTime(2.0, (1.0, 4.0), (0.5, 6.0), "probe")
    seconds = build_plan(spec, packing, time).seconds
    assert seconds is not None
    assert (seconds.least, seconds.expected, seconds.most) == (18, 36, 72)


def test_json() -> None:
    plan = plan_of(spec_of(), Node(2, 0, 4 * GIB), 1.5, MemoryNeed(GIB)).to_dict()
    assert json.loads(json.dumps(plan)) == plan
    assert plan["sweep"] == "small"
    assert plan["trials"] == 12
    assert plan["trials_at_once"] == plan["room"] == 2
    assert plan["memory_bytes"] == GIB
    assert plan["max_epochs"] == 9
    assert plan["epochs"]["least"] == 42
    assert plan["epochs"]["most"] == 108
    assert plan["seconds"]["least"] == 31.5
    assert plan["seconds"]["most"] == 81.0
    assert plan["seconds_per_epoch"] == {
        "mean": 1.5,
        "band": [1.5, 1.5],
        "range": [1.5, 1.5],
        "source": "sizes",
    }
    assert plan["cpu_hours"]["most"] == pytest.approx(108 * 1.5 / 3600)
    assert plan["gpu_hours"]["most"] == 0
    assert plan["nodes"] == [
        {
            "name": "this machine",
            "cpus": 2,
            "gpus": 0,
            "memory_bytes": 4 * GIB,
            "resources": {},
            "labels": {},
            "held": [],
            "workers": 2,
        }
    ]
    assert plan["spec"]["register"] == {"top": 1}


def test_no_time_before_an_epoch_was_timed() -> None:
    plan = plan_of(spec_of(), Node(2)).to_dict()
    assert (plan["seconds"], plan["cpu_hours"], plan["seconds_per_epoch"]) == (None, None, None)


def answer(memory_bytes: int, **changes: int | None) -> ProbeResult:
    stage = ProbeStage(
        videos=128,
        val_videos=64,
        val_captions=224,
        steps_s=(2.0, 2.0),
        evaluations_s=(0.5, 0.5),
        others_s=(0.25, 0.25),
    )
    return ProbeResult(stages=(stage,), hardware="a GPU", memory_bytes=memory_bytes, **changes)


def test_what_a_probe_measured_takes_the_estimates_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def probe(request: ProbeRequest) -> ProbeResult:
        asked.append(request)
        return answer(GIB)

    monkeypatch.setattr(plan_module, "probe_here", probe)
    rough, plan = plan_here(spec_of()), plan_here(spec_of(), probe=True)
    (request,) = asked
    assert request.batch_videos == 128
    assert rough.time is not None
    assert plan.time is not None
    assert (rough.time.source, plan.time.source) == ("sizes", "probe")
    # Two steps an epoch, the evaluation of twice as many videos, a checkpoint.
    assert 2 * 2.0 + 2 * 0.5 <= plan.time.mean_s <= 2 * 2.0 + 4 * 0.5 + 0.25
    memory = plan.packing.needs.memory
    assert memory is not None
    assert memory.total_bytes == pytest.approx(GIB, rel=0.1)


def test_a_failed_probe_leaves_the_rough_plan_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(request: ProbeRequest) -> ProbeResult:
        raise ProbeError("OutOfMemoryError: CUDA out of memory")

    monkeypatch.setattr(plan_module, "probe_here", probe)
    plan = plan_here(spec_of(), probe=True)
    assert plan.probe is None
    assert replace(plan, warnings=()).to_dict()["seconds_per_epoch"]["source"] == "sizes"
    assert plan.warnings[-1] == (
        "the probe failed, so times are rough: OutOfMemoryError: CUDA out of memory"
    )


def test_trials_that_share_a_gpu_without_room_are_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Node, "here", lambda: Node(8, 1))
    took = answer(GIB, gpu_memory_bytes=5 * GIB, gpu_total_bytes=16 * GIB)
    monkeypatch.setattr(plan_module, "probe_here", lambda _: took)
    assert plan_here(spec_of("resources.gpus=0.3"), probe=True).warnings == ()
    plan = plan_here(spec_of("resources.gpus=0.25"), probe=True)
    assert plan.warnings == (
        "4 trials share a GPU of 16.0 GiB, but each takes 5.0 GiB; nearest that fits: "
        "resources.gpus 0.33",
    )


def test_bfloat16_without_instructions_for_it_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for has, warnings in ((True, 0), (None, 0), (False, 1)):
        took = answer(GIB, multiplies_bfloat16=has)
        monkeypatch.setattr(plan_module, "probe_here", lambda _, took=took: took)
        plan = plan_here(spec_of("speed.precision=bfloat16"), probe=True)
        found = [
            text for text in plan.warnings if text.startswith("speed.precision bfloat16: this")
        ]
        assert len(found) == warnings, plan.warnings
        assert not plan_here(spec_of("speed.precision=float32"), probe=True).warnings


def test_what_an_import_found_wrong_with_the_data_is_one_warning(tmp_path: Path) -> None:
    store = tmp_path / "padded.store"
    padded = np.vstack([np.ones((3, 4)), np.zeros((2, 4))])
    with StoreWriter(store, name="padded", video_dim=4, text_dim=4) as writer:
        for split, rows in (("train", padded), ("val", 0 * padded)):
            writer.add_video(split, split, rows)
            writer.add_caption(split, f"{split}#0", split, "", padded)
    (warning,) = plan_here(spec_of(f"data={store}")).warnings
    assert warning.startswith("data: rows of zeros at the end of 1 of 2 videos ('train'): cut the ")
    assert "; zeros in every row of 1 of 2 videos ('val'): make " in warning
    assert "; rows of zeros at the end of 2 of 2 captions ('train#0', 'val#0'), so the " in warning


def test_a_store_without_training_videos_is_planned_all_the_same(tmp_path: Path) -> None:
    store = tmp_path / "half.store"
    with StoreWriter(store, name="half", video_dim=4, text_dim=4) as writer:
        writer.add_video("val", "v", np.ones((3, 4)))
        writer.add_caption("val", "v#0", "v", "", np.ones((2, 4)))
    plan = plan_here(spec_of(f"data={store}"), probe=True)
    assert plan.warnings[-1].startswith("the probe failed, so times are rough: the data has no")
