"""The detector finds every way in which code can wait for a device."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.prvr_model.training.sync_detector import META, SyncDetector

READS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x[0]),
    "if": lambda x: bool((x > 0).any()),
    "mask": lambda x: x[x > 0],
    "assignment by mask": lambda x: x.clone().index_put_((x > 0,), torch.ones(())),
    "nonzero": lambda x: x.nonzero(),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "bincount": lambda x: torch.bincount(x.long()),
    "repeat_interleave": lambda x: x.repeat_interleave(x.long()),
    "blocking transfer": lambda x: x.to(META),
    "blocking copy": lambda x: torch.empty(3, device=META).copy_(x),
}
# What the detector cannot see on the CPU raises where tensors have no content.
READS_OF_CONTENT: dict[str, Callable[[Tensor], object]] = {
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "item": lambda x: x.sum().item(),
    "mask": lambda x: x[x > 0],
}


@pytest.mark.parametrize("read", READS)
def test_a_wait_is_found(read: str) -> None:
    x = torch.tensor([2.0, 0.0, 1.0])
    with SyncDetector() as detector:
        READS[read](x)
    assert len(detector.found) >= 1


@pytest.mark.parametrize("read", READS_OF_CONTENT)
def test_a_read_of_what_is_not_there_raises(read: str) -> None:
    x = torch.ones(3, device=META)
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        READS_OF_CONTENT[read](x)


def test_what_only_queues_work_is_not_found() -> None:
    x, places = torch.tensor([2.0, 0.0, 1.0]), torch.tensor([0, 2])
    with SyncDetector() as detector:
        y = x[places] * 2 + x.masked_fill(x > 0, 1.0).amax()
        torch.where(y > 0, y, 0).topk(1)
        x.to(META, non_blocking=True)
        x.to(torch.float64)
        torch.empty(3).copy_(x)
    assert detector.found == []
