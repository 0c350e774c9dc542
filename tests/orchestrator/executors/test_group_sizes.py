"""How many workers a trial asks for after it was evicted."""

import pytest

from orchestrator.executors.retries import GroupSizes
from orchestrator.study.trial import FailureCause


def cause(kind: str) -> FailureCause:
    return FailureCause(kind, "gone", "")


@pytest.mark.parametrize(("free", "size"), [(0, 2), (2, 2), (3, 3), (9, 3)])
def test_without_slots_a_trial_takes_what_is_free_within_its_limits(free: int, size: int) -> None:
    sizes = GroupSizes(4, 2, lambda: free)
    assert sizes.shrink(7, cause("NoSlotError"))
    assert (sizes.of(7), sizes.of(8)) == (size, 4)


def test_with_the_fewest_it_shrinks_no_more() -> None:
    sizes = GroupSizes(4, 2, lambda: 0)
    assert [sizes.shrink(7, cause("NoSlotError")) for _ in range(2)] == [True, False]
    assert sizes.of(7) == 2


def test_an_evicted_trial_takes_what_is_free_as_well() -> None:
    sizes = GroupSizes(4, 2, lambda: 3)
    assert sizes.shrink(7, cause("SlotLostError"))
    assert sizes.of(7) == 3


@pytest.mark.parametrize("kind", ["ActorDiedError", "NodeLeavingError"])
def test_another_eviction_asks_for_all_again(kind: str) -> None:
    sizes = GroupSizes(4, 2, lambda: 2)
    assert sizes.shrink(7, cause("NoSlotError"))
    assert not sizes.shrink(7, cause(kind))
    assert sizes.of(7) == 4


def test_a_sweep_of_a_fixed_number_never_shrinks() -> None:
    sizes = GroupSizes(4, 4, lambda: 2)
    assert not sizes.shrink(7, cause("NoSlotError"))
    assert sizes.of(7) == 4
