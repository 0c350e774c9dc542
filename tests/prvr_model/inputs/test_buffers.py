"""Memory that is used again grows where it must and keeps its arrays apart."""

import numpy as np
import pytest
import torch

from prvr_model.inputs.buffers import ReusedMemory


def test_arrays_of_one_name_share_memory_and_those_of_others_do_not() -> None:
    memory = ReusedMemory()
    first = memory.array("a", (3, 4), np.float32)
    other = memory.array("b", (3, 4), np.float32)
    first[:], other[:] = 1, 2
    again = memory.array("a", (2, 2), np.int64)
    assert np.shares_memory(first, again)
    assert not np.shares_memory(other, again)
    assert (other == 2).all()


def test_a_larger_array_gets_larger_memory_and_a_little_more_does_not() -> None:
    memory = ReusedMemory()
    memory.array("a", (10,), np.float32)
    large = memory.array("a", (100, 8), np.float32)
    large[:] = np.arange(800).reshape(100, 8)
    assert large.ravel().tolist() == list(range(800))
    assert np.shares_memory(large, memory.array("a", (110, 8), np.float32))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 5)])
def test_empty_arrays_and_single_numbers(shape: tuple[int, ...]) -> None:
    array = ReusedMemory().array("a", shape, np.float64)
    assert array.shape == shape
    assert array.dtype == np.float64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_memory() -> None:
    array = ReusedMemory(pinned=True).array("a", (3,), np.float32)
    assert torch.from_numpy(array).is_pinned()
