"""Ray Tune keeps the contract."""

import os
import signal
from contextlib import suppress
from functools import partial

import pytest
from ray._private import utils

from orchestrator.base.errors import NothingStartsError, RayChangedError, SpecError
from orchestrator.base.machine import available_cpus
from orchestrator.cluster.capacity import MemoryNeed, Node, RunningCluster
from orchestrator.executors import ray_session as own_ray
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.tune_executor import TrialSlot, TuneExecutor
from tests.orchestrator.executors.executor_contract import ExecutorContract, RecordingSource

GIB = 2**30


@pytest.mark.soak
@pytest.mark.integration
class TestTuneExecutor(ExecutorContract):
    make = staticmethod(partial(TuneExecutor, TrialSlot(), max_evictions=1))
    concurrency = 2
    exit_kind = "ActorDiedError"

    def test_error_of_the_source_ends_the_run_and_leaves_nothing(self) -> None:
        super().test_error_of_the_source_ends_the_run_and_leaves_nothing()

    def test_trials_run_at_the_same_time(self, told: RecordingSource) -> None:
        assert told.most_live == min(2, available_cpus())


def test_sigterm_while_ray_starts_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        # What Ray does at the beginning of its start; and what its code may do to an exception.
        utils.set_sigterm_handler(lambda *_: None)
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(own_ray, "_start_ray", start)
    source = RecordingSource([1])
    with Interruption().listening() as interruption, pytest.raises(KeyboardInterrupt):
        TuneExecutor(TrialSlot()).run(source, 1, interruption)
    assert source.calls == {}


def test_a_ray_that_changed_inside_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(utils, "set_sigterm_handler")
    with (
        Interruption().listening() as interruption,
        pytest.raises(RayChangedError, match=r"lacks .*utils\.set_sigterm_handler.*constraints"),
    ):
        TuneExecutor(TrialSlot()).run(RecordingSource([1]), 1, interruption)


def test_no_room_is_said_before_anything_starts() -> None:
    with pytest.raises(SpecError, match=r"resources\.cpus: a worker asks for 9999 CPUs"):
        TuneExecutor(TrialSlot(cpus=9999))
    with pytest.raises(SpecError, match=r"resources\.memory_gib: a worker takes 1048576\.0 GiB"):
        TuneExecutor(TrialSlot(memory=MemoryNeed(2**50)))


@pytest.mark.parametrize(
    ("workers", "resources", "memory"),
    # Without a resource for them, the watching processes of two trials take a byte each.
    [(1, {}, GIB), (2, {}, GIB - 2), (2, {"train_driver": 1.0}, GIB)],
)
def test_workers_ask_a_cluster_for_memory(
    workers: int, resources: dict[str, float], memory: int
) -> None:
    node = Node(4, 0, 4 * GIB, resources=resources)
    cluster = RunningCluster("127.0.0.1:6379", [node])
    executor = TuneExecutor(TrialSlot(workers=workers, memory=MemoryNeed(GIB)), cluster=cluster)
    assert executor._shape.bundle == {"CPU": 1, "memory": memory}


def test_memory_is_asked_for_only_where_all_nodes_offer_it() -> None:
    cluster = RunningCluster("127.0.0.1:6379", [Node(4, 0, 4 * GIB), Node(4)])
    executor = TuneExecutor(TrialSlot(workers=2, memory=MemoryNeed(GIB)), cluster=cluster)
    assert executor._shape.bundle == {"CPU": 1}
    assert TuneExecutor(TrialSlot(memory=MemoryNeed(1)))._shape.bundle == {"CPU": 1}


@pytest.mark.soak
def test_a_trial_without_place_ends_the_run_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was free at the start is not any more: a node has gone."""
    monkeypatch.setattr("orchestrator.executors.ray_session.available_cpus", lambda: 0)
    source = RecordingSource([1, 2])
    with pytest.raises(
        NothingStartsError, match=r"a trial asks for 1 CPU; all nodes together have 0 CPUs"
    ):
        TuneExecutor(TrialSlot(), start_limit_s=8).run(source, 1, Interruption())
    assert len(source.waits) == 1
    assert source.calls == {1: ["begin"]}
