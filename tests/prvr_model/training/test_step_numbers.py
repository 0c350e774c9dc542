"""Numbers of steps: means, and what is not finite, whenever the host comes to know of it."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from prvr_model.errors import NonFiniteError
from prvr_model.training.step_numbers import ReadAtOnce, Reader, StepNumbers, reader_for
from tests.prvr_model.files.slow_reader import SlowReader

NAMES = ("train/a", "train/b")
NAN, INF = float("nan"), float("inf")


def numbers_of(reader: Reader) -> StepNumbers:
    return StepNumbers(NAMES, 7, reader)


def add_all(numbers: StepNumbers, rows: Iterable[tuple[float, float]]) -> list[bool | None]:
    """Flags of each step; None where the host knows already."""
    flags: list[Tensor | None] = [numbers.add(torch.tensor(row)) for row in rows]
    return [None if flag is None else bool(flag) for flag in flags]


@pytest.mark.parametrize("reader", [ReadAtOnce(), SlowReader(1), SlowReader(9)])
def test_means_are_those_of_a_loop(reader: Reader) -> None:
    rows = [(0.1 * n, 1 / (n + 1)) for n in range(5)]
    numbers = numbers_of(reader)
    add_all(numbers, rows)
    single = [[float(torch.tensor(value)) for value in row] for row in rows]
    assert numbers.means() == {
        "train/a": sum(row[0] for row in single) / 5,
        "train/b": sum(row[1] for row in single) / 5,
    }


def test_read_at_once_a_bad_number_is_known_before_its_step() -> None:
    numbers = numbers_of(ReadAtOnce())
    assert add_all(numbers, [(1.0, 2.0), (3.0, 4.0)]) == [None, None]
    with pytest.raises(NonFiniteError, match="train/b is not finite in epoch 7, step 3"):
        numbers.add(torch.tensor((1.0, NAN)))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_until_the_host_hears_of_it_the_flag_holds_every_later_step(bad: float) -> None:
    numbers = numbers_of(SlowReader(3))
    rows = [(1.0, 2.0), (bad, 2.0), (1.0, 2.0), (1.0, bad)]
    assert add_all(numbers, rows) == [True, False, False, False]
    # The row of step 2 arrives with step 5; the first bad step is named, not the last.
    with pytest.raises(NonFiniteError, match="train/a is not finite in epoch 7, step 2"):
        numbers.add(torch.tensor((1.0, 2.0)))


def test_the_end_of_the_epoch_waits_for_every_row() -> None:
    numbers = numbers_of(SlowReader(9))
    assert add_all(numbers, [(1.0, 2.0), (NAN, INF)]) == [True, False]
    with pytest.raises(NonFiniteError, match="train/a is not finite in epoch 7, step 2"):
        numbers.means()


def test_the_cpu_is_read_at_once() -> None:
    assert isinstance(reader_for(torch.device("cpu"), 3, 2), ReadAtOnce)
