"""Which trials run again when their process or node is gone."""

import pytest

from orchestrator.executors.retries import LostTrials
from orchestrator.study.trial import FailureCause
from tests.orchestrator.executors.executor_contract import request


def cause(kind: str) -> FailureCause:
    return FailureCause(kind, "gone", "")


@pytest.mark.parametrize("kind", ["NonFiniteError", "ValueError", "NoSlotError", "UnknownError"])
def test_who_raised_an_error_or_never_had_a_place_has_failed(kind: str) -> None:
    lost = LostTrials()
    assert not lost.take_back(request(1), cause(kind))
    assert lost.next() is None


def test_the_lost_come_again_in_order() -> None:
    lost = LostTrials()
    assert lost.take_back(request(2), cause("ActorDiedError"))
    assert lost.take_back(request(1), cause("NodeDiedError"))
    assert [lost.next(), lost.next(), lost.next()] == [request(2), request(1), None]


def test_who_is_lost_again_and_again_without_an_epoch_has_failed() -> None:
    lost = LostTrials(max_losses=2)
    taken = [lost.take_back(request(1), cause("ActorDiedError")) for _ in range(2)]
    lost.reported(1, epoch=1)
    taken += [lost.take_back(request(1), cause("ActorDiedError")) for _ in range(2)]
    # An epoch that was reported before is no progress.
    lost.reported(1, epoch=1)
    assert taken == [True] * 4
    assert not lost.take_back(request(1), cause("ActorDiedError"))


def test_leaving_a_node_is_no_loss() -> None:
    lost = LostTrials(max_losses=0)
    assert all(lost.take_back(request(1), cause("NodeLeavingError")) for _ in range(3))


def test_who_had_a_place_before_looks_for_another() -> None:
    lost = LostTrials(max_losses=1)
    lost.reported(1, epoch=1)
    assert lost.take_back(request(1), cause("NoSlotError"))
    assert not lost.take_back(request(1), cause("NoSlotError"))


@pytest.mark.parametrize(
    "kind", ["SlotLostError", "NodeDiedError", "NodeLeavingError", "StorageError"]
)
def test_who_lost_its_place_before_an_epoch_looks_for_another(kind: str) -> None:
    lost = LostTrials(max_losses=2)
    assert lost.take_back(request(1), cause(kind))
    assert lost.take_back(request(1), cause("NoSlotError"))


def test_who_ran_and_was_put_back_had_a_place() -> None:
    lost = LostTrials()
    lost.put_back(request(1), cause("SlotLostError"))
    lost.put_back(request(2), cause("NoSlotError"))
    assert lost.take_back(request(1), cause("NoSlotError"))
    assert not lost.take_back(request(2), cause("NoSlotError"))
