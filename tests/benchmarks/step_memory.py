"""What the memory of a training step on a GPU is made of, told without a GPU and without memory.

Run `python -m tests.benchmarks.step_memory --json`. The step runs on PyTorch's `meta` device:
operations and shapes of an accelerator, no content. With CUDA the same step runs there too, and
the peak of its allocator stands beside the prediction (`measured_peak_mb`).
"""

import argparse
import functools
import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prvr_model.inputs.batching import Batch
from prvr_model.settings import Settings, build_settings
from tests.benchmarks.live_bytes import Block, LiveBytes, site
from tests.benchmarks.measure import arguments, show
from tests.benchmarks.train_step import build_step, random_batch

# The claim: a batch of 128 fits a GPU of 8 GB in float32.
LIMIT_MB = 8000
PARTS = ("clip_branch", "frame_branch", "caption_encoder")
LASTING = ("parameters", "gradients", "moments", "batch")
# Lines of the lists that are shown.
_NUM_LARGEST, _NUM_SITES = 8, 12


def main() -> None:
    """Predict, measure where there is a GPU, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=128)
    parser.add_argument("--captions", type=int, default=640, help="captions of all videos")
    parser.add_argument("--min-tokens", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--dim", type=int, default=768, help="of frames and tokens")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--hard", action="store_true", help="hard negatives, as from epoch 20")
    parser.add_argument("--micro-batch-videos", type=int, help="videos encoded at once")
    options = arguments(parser)
    settings = build_settings(None, {"model.hidden_size": options.hidden})
    batch = random_batch(settings, options)
    result = predict(settings, batch, options)
    if torch.cuda.is_available():
        result["measured_peak_mb"] = measure(settings, batch, options)
    show({**result, "limit_mb": LIMIT_MB}, options)


def predict(settings: Settings, batch: Batch, options: argparse.Namespace) -> dict[str, Any]:
    """Memory of a step in MB (10^6 bytes): what stays, what is saved for backward, the peak."""
    device = torch.device("meta")
    with mock.patch.object(F, "dropout", _dropout_of_cuda), device:
        step = build_step(settings, on_device(batch, device), options)
        # Moments and gradients are made by the first step.
        step()
        owned = inspect.getclosurevars(step).nonlocals
        memory, saved = LiveBytes(), SavedBytes()
        for name, tensors in lasting(owned).items():
            memory.hold(tensors, name)
        with memory, saved.follow(memory, owned["model"]):
            step()
        result = _summary(memory, saved, owned)
        memory.reset_peak()
        with memory:
            owned["optimizer"].step(applied=torch.ones((), dtype=torch.bool))
    return {**result, "masked_update_peak_mb": memory.peak / 1e6}


def measure(settings: Settings, batch: Batch, options: argparse.Namespace) -> float:
    """Peak of CUDA's allocator over a step, in MB."""
    device = torch.device("cuda")
    with device:
        step = build_step(settings, on_device(batch, device), options)
        step()
        torch.cuda.reset_peak_memory_stats()
        step()
    return torch.cuda.max_memory_allocated() / 1e6


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on another device."""
    return batch.to(device)


def lasting(owned: Mapping[str, Any]) -> dict[str, list[Tensor]]:
    """What stays from step to step, by kind; gradients stay until the next backward pass."""
    model, moments = owned["model"], owned["optimizer"].state.values()
    parameters = list(model.parameters())
    return {
        "parameters": [*parameters, *model.buffers()],
        "gradients": [weight.grad for weight in parameters if weight.grad is not None],
        "moments": [moment for state in moments for moment in state.values()],
        "batch": list(owned["batch"].tensors().values()),
    }


class SavedBytes:
    """What the forward pass saves for backward, each storage once, what lasts apart."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._part = "losses"
        self.by_part: Counter[str] = Counter()
        self.by_site: Counter[str] = Counter()
        self.by_type: Counter[str] = Counter()

    @contextmanager
    def follow(self, memory: LiveBytes, model: nn.Module) -> Iterator[None]:
        """Record what is saved inside the `with` block, by the model's parts."""
        hooks = []
        for name in PARTS:
            part = model.get_submodule(name)
            hooks.append(part.register_forward_pre_hook(lambda *_, name=name: self._enter(name)))
            hooks.append(part.register_forward_hook(lambda *_: self._enter("losses")))
        pack = functools.partial(self._pack, memory)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield
        for hook in hooks:
            hook.remove()

    def holds(self, block: Block) -> bool:
        """Whether a block was saved for backward."""
        return id(block) in self._blocks

    def _enter(self, part: str) -> None:
        self._part = part

    def _pack(self, memory: LiveBytes, tensor: Tensor) -> Tensor:
        block = memory.block(tensor)
        if block is not None and block.maker not in LASTING and not self.holds(block):
            self._blocks[id(block)] = block
            self.by_part[self._part] += block.num_bytes
            self.by_site[site()] += block.num_bytes
            self.by_type[str(block.dtype).removeprefix("torch.")] += block.num_bytes
        return tensor


def _summary(memory: LiveBytes, saved: SavedBytes, owned: Mapping[str, Any]) -> dict[str, Any]:
    lasts = lasting(owned)
    gradients = {id(memory.block(last)) for last in lasts["gradients"]}

    def kind(block: Block) -> str:
        if id(block) in gradients:
            return "gradients"
        if block.maker in LASTING:
            return block.maker
        return "saved" if saved.holds(block) else "temporary"

    at_peak: Counter[str] = Counter()
    for block in memory.at_peak:
        at_peak[kind(block)] += block.num_bytes
    temporary = [block for block in memory.at_peak if kind(block) == "temporary"]
    largest = sorted(temporary, key=lambda block: block.num_bytes, reverse=True)[:_NUM_LARGEST]
    return {
        "predicted_peak_mb": memory.peak / 1e6,
        "fits": memory.peak / 1e6 < LIMIT_MB,
        **{f"{name}_mb": _megabytes_of(tensors) for name, tensors in lasts.items()},
        "saved_mb": saved.by_part.total() / 1e6,
        "saved_by_part_mb": _megabytes(saved.by_part),
        "saved_by_site_mb": _megabytes(saved.by_site),
        "saved_by_type_mb": _megabytes(saved.by_type),
        "peak_in": memory.peak_maker,
        "at_peak_mb": _megabytes(at_peak),
        "largest_temporaries": [
            {"mb": block.num_bytes / 1e6, "shape": block.shape, "made_by": block.maker}
            for block in largest
        ],
    }


def _megabytes_of(tensors: Iterable[Tensor]) -> float:
    """Size of the storages of tensors, which may share them."""
    storages = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors
    }
    return sum(storages.values()) / 1e6


def _megabytes(counted: Counter[str]) -> dict[str, float]:
    return {name: size / 1e6 for name, size in counted.most_common(_NUM_SITES)}


def _dropout_of_cuda(rows: Tensor, rate: float) -> Tensor:
    """Dropout as CUDA has it: one operation that saves a mask of a byte an element.

    Elsewhere, `meta` included, PyTorch builds it from others and saves four bytes.
    """
    return torch.native_dropout(rows, rate, True)[0]


if __name__ == "__main__":
    main()
