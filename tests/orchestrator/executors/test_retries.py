"""Which trials run again when their process or node is gone."""

import pytest

from orchestrator.executors.retries import EvictedTrials
from orchestrator.study.trial import FailureCause
from tests.orchestrator.executors.executor_contract import request


def cause(kind: str) -> FailureCause:
    return FailureCause(kind, "gone", "")


@pytest.mark.parametrize("kind", ["NonFiniteError", "ValueError", "NoSlotError", "UnknownError"])
def test_a_trial_that_raised_an_error_or_never_had_a_slot_has_failed(kind: str) -> None:
    evicted = EvictedTrials()
    assert not evicted.requeue_evicted(request(1), cause(kind))
    assert evicted.next() is None


def test_evicted_trials_run_again_in_order() -> None:
    evicted = EvictedTrials()
    assert evicted.requeue_evicted(request(2), cause("ActorDiedError"))
    assert evicted.requeue_evicted(request(1), cause("NodeDiedError"))
    assert [evicted.next(), evicted.next(), evicted.next()] == [request(2), request(1), None]


def test_a_trial_evicted_again_and_again_without_an_epoch_has_failed() -> None:
    evicted = EvictedTrials(max_evictions=2)
    taken = [evicted.requeue_evicted(request(1), cause("ActorDiedError")) for _ in range(2)]
    evicted.reported(1, epoch=1)
    taken += [evicted.requeue_evicted(request(1), cause("ActorDiedError")) for _ in range(2)]
    # An epoch that was reported before is no progress.
    evicted.reported(1, epoch=1)
    assert taken == [True] * 4
    assert not evicted.requeue_evicted(request(1), cause("ActorDiedError"))


def test_leaving_a_drained_node_does_not_count_as_an_eviction() -> None:
    evicted = EvictedTrials(max_evictions=0)
    assert all(evicted.requeue_evicted(request(1), cause("NodeLeavingError")) for _ in range(3))


def test_a_trial_that_had_a_slot_looks_for_another() -> None:
    evicted = EvictedTrials(max_evictions=1)
    evicted.reported(1, epoch=1)
    assert evicted.requeue_evicted(request(1), cause("NoSlotError"))
    assert not evicted.requeue_evicted(request(1), cause("NoSlotError"))


@pytest.mark.parametrize(
    "kind", ["SlotLostError", "NodeDiedError", "NodeLeavingError", "StorageError"]
)
def test_a_trial_evicted_before_an_epoch_looks_for_another_slot(kind: str) -> None:
    evicted = EvictedTrials(max_evictions=2)
    assert evicted.requeue_evicted(request(1), cause(kind))
    assert evicted.requeue_evicted(request(1), cause("NoSlotError"))


def test_a_trial_that_ran_and_was_requeued_had_a_slot() -> None:
    evicted = EvictedTrials()
    evicted.requeue(request(1), cause("SlotLostError"))
    evicted.requeue(request(2), cause("NoSlotError"))
    assert evicted.requeue_evicted(request(1), cause("NoSlotError"))
    assert not evicted.requeue_evicted(request(2), cause("NoSlotError"))
