"""Parts cover everything once, run at the same time, and raise what they raise."""

import threading

import pytest

from prvr_model.inputs.threads import in_parts


@pytest.mark.parametrize(("total", "threads"), [(0, 3), (1, 3), (2, 3), (7, 3), (9, 3), (5, 1)])
def test_parts_cover_everything_once(total: int, threads: int) -> None:
    parts: list[slice] = []
    in_parts(total, threads, parts.append)
    covered = [number for part in parts for number in range(part.start, part.stop)]
    assert sorted(covered) == list(range(total))
    assert len(parts) == min(total, threads)


def test_parts_run_at_the_same_time_and_one_of_them_here() -> None:
    barrier = threading.Barrier(3)
    workers: list[threading.Thread] = []

    def work(part: slice) -> None:
        barrier.wait(timeout=30)
        workers.append(threading.current_thread())

    in_parts(3, 3, work)
    assert threading.current_thread() in workers
    assert len(set(workers)) == 3


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_what_a_part_raises_is_raised_after_the_others(failing: int) -> None:
    done: list[int] = []

    def work(part: slice) -> None:
        if part.start == failing:
            raise ValueError("here")
        done.append(part.start)

    with pytest.raises(ValueError, match="here"):
        in_parts(3, 3, work)
    assert sorted(done) == [part for part in range(3) if part != failing]
