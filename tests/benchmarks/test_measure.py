"""Exponents and peak memory, which the benchmarks' figures rest on."""

import numpy as np
import pytest

from tests.benchmarks.growth import exponents
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
