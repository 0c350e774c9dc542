"""Prefetched batches are those made one by one, hold as long as promised, and the thread ends."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from prvr_model.inputs import prefetch
from prvr_model.inputs.batching import Batch, epoch_order, make_batch
from prvr_model.inputs.prefetch import BatchMemory, prefetched
from prvr_model.inputs.prepared_split import PreparedSplit, prepare_split
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.tiny import tiny_settings

CPU = torch.device("cpu")
DEPTHS = pytest.mark.parametrize("depth", [0, 1, 3])


@pytest.fixture
def split(tiny_store: FeatureStore) -> PreparedSplit:
    return prepare_split(tiny_store, "train", tiny_settings())


def order_of(split: PreparedSplit, epoch: int = 0) -> list[np.ndarray]:
    return epoch_order(split.num_videos, 2, seed=1, epoch=epoch)


def equal(left: Batch, right: Batch) -> bool:
    others = right.tensors()
    return all(torch.equal(value, others[name]) for name, value in left.tensors().items())


def copied(batch: Batch) -> Batch:
    return replace(batch, **{name: value.clone() for name, value in batch.tensors().items()})


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@DEPTHS
def test_batches_are_those_made_one_by_one_and_keep_their_order(
    split: PreparedSplit, depth: int
) -> None:
    memory = BatchMemory(CPU, depth)
    for epoch in range(3):
        order = order_of(split, epoch)
        with closing(prefetched(split, order, CPU, depth, memory)) as batches:
            for videos, batch in zip(order, batches, strict=True):
                assert equal(batch, make_batch(split, videos, CPU))
    assert threads() == []


@DEPTHS
def test_a_batch_holds_while_the_next_is_used(split: PreparedSplit, depth: int) -> None:
    before: tuple[Batch, Batch] | None = None
    with closing(prefetched(split, order_of(split), CPU, depth)) as batches:
        for batch in batches:
            if before is not None:
                assert equal(*before)
            before = batch, copied(batch)


@DEPTHS
def test_memory_is_used_again(split: PreparedSplit, depth: int) -> None:
    memory = BatchMemory(CPU, depth)
    places = {
        batch.frames.data_ptr()
        for epoch in range(3)
        for batch in prefetched(split, order_of(split, epoch), CPU, depth, memory)
    }
    assert len(places) == min(depth + 2, len(order_of(split)))


@DEPTHS
def test_what_making_a_batch_raises_comes_to_the_caller(split: PreparedSplit, depth: int) -> None:
    order = [np.array([0, 1]), np.array([split.num_videos + 5]), np.array([2, 3])]
    with closing(prefetched(split, order, CPU, depth)) as batches:
        assert equal(next(batches), make_batch(split, order[0], CPU))
        with pytest.raises(IndexError, match="out of bounds"):
            next(batches)
        with pytest.raises(StopIteration):
            next(batches)
    assert threads() == []


class StoppedError(Exception):
    pass


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, limit: int) -> Iterator[threading.Event]:
    """An event that is set when `limit` batches have been made; one more fails the test."""
    enough, made = threading.Event(), []

    def count(split: PreparedSplit, videos: np.ndarray, *rest: object) -> Batch:
        made.append(videos)
        if len(made) == limit:
            enough.set()
        return make_batch(split, videos, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(prefetch, "make_batch", count)
    yield enough
    assert len(made) == limit


@pytest.mark.parametrize("depth", [1, 2])
def test_a_consumer_that_stops_early_ends_the_thread(
    split: PreparedSplit, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(split) * 3
    # The thread goes no further than its memory: what is ahead, and two that the caller may hold.
    with counted(monkeypatch, depth + 2) as enough, pytest.raises(StoppedError):  # noqa: PT012, SIM117
        with closing(prefetched(split, order, CPU, depth)) as batches:
            next(batches)
            assert enough.wait(timeout=30)
            assert len(threads()) == 1
            raise StoppedError
    assert threads() == []


def test_a_generator_never_started_has_no_thread(split: PreparedSplit) -> None:
    prefetched(split, order_of(split), CPU, 2).close()
    assert threads() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@DEPTHS
def test_on_a_gpu_batches_come_without_the_host_waiting(split: PreparedSplit, depth: int) -> None:
    device = torch.device("cuda")
    memory = BatchMemory(device, depth)
    for epoch in range(3):
        order = order_of(split, epoch)
        # The first epoch takes memory from the driver, which may wait.
        torch.cuda.set_sync_debug_mode("error" if epoch else "default")
        try:
            batches = list(prefetched(split, order, device, depth, memory))
            # The step's stream reads each batch after its copy.
            sums = [batch.frames.sum() for batch in batches]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        for videos, batch, total in zip(order, batches, sums, strict=True):
            wanted = make_batch(split, videos, CPU)
            assert batch.frames.device.type == "cuda"
            assert equal(batch.to(CPU), wanted)
            torch.testing.assert_close(total.cpu(), wanted.frames.sum())
