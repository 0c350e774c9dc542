"""Exponents and peak memory, which the benchmarks' figures rest on."""

import numpy as np
import pytest
import torch

from tests.benchmarks.growth import exponents
from tests.benchmarks.live_bytes import LiveBytes
from tests.benchmarks.measure import PeakMemory


def test_exponents_are_slopes_of_logarithms() -> None:
    sizes = [2, 4, 8, 16]
    rows = [{"linear": 3.0 * n, "square": 0.1 * n**2, "constant": 5.0} for n in sizes]
    found = exponents(sizes, rows, ("linear", "square", "constant"))
    assert found == pytest.approx({"linear": 1, "square": 2, "constant": 0}, abs=1e-9)
    assert exponents([2], rows[:1], ("linear",)) == {"linear": None}


def test_peak_memory_counts_what_is_freed_before_the_end() -> None:
    with PeakMemory() as memory:
        np.ones(100_000_000, np.uint8).sum()
    assert 90 < memory.extra_mb < 200
    with PeakMemory() as nothing:
        pass
    if not nothing.is_bound:
        assert nothing.extra_mb < 20


KILOBYTE = 1024


def kilobyte(device: str) -> torch.Tensor:
    return torch.ones(KILOBYTE // 4, device=device)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_live_bytes_count_storages_while_they_live(device: str) -> None:
    before = kilobyte(device)
    with LiveBytes() as memory:
        memory.hold([before], "before")
        memory.hold([before], "again")
        assert memory.now == KILOBYTE
        a = kilobyte(device) * 2 + before
        # The result alone: neither the ones nor their double is left.
        assert memory.now == 2 * KILOBYTE
        views = [a[3:], a.view(2, -1), a.detach()]
        a += 1
        assert memory.now == 2 * KILOBYTE
        del a
        assert memory.now == 2 * KILOBYTE
        views.clear()
        assert memory.now == KILOBYTE
    assert memory.peak == 3 * KILOBYTE
    assert [block.num_bytes for block in memory.at_peak] == [KILOBYTE] * 3
    # An allocator rounds up.
    with memory:
        small = torch.ones(1, device=device)
        assert memory.now == KILOBYTE + 512
    del small
    assert memory.now == KILOBYTE


def test_live_bytes_see_what_the_backward_pass_holds() -> None:
    leaf = kilobyte("meta").requires_grad_()
    with LiveBytes() as memory:
        memory.hold([leaf], "leaf")
        # exp saves its result, and the sum saves nothing.
        total = leaf.exp().exp().sum()
        assert memory.now == 3 * KILOBYTE + 512
        total.backward()
        assert leaf.grad is not None
        del total
        assert memory.now == 2 * KILOBYTE
