"""The processes that train one trial together, and what they exchange.

The loss is that of the global batch: negatives and relations between captions come from all
workers. Each worker encodes its own videos with their captions. All workers get all query vectors
(a megabyte) and scores; encoded videos, the bulk, are not exchanged. Each worker computes the part
of the loss that depends on its own videos and its share of the rest, so that the gradients of all
workers add up to those of one process.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Shards:
    """How the rows of a global batch are spread: worker w has `counts[w]` rows, in order."""

    counts: tuple[int, ...]

    @classmethod
    def even(cls, total: int, num_workers: int) -> "Shards":
        """Shards whose sizes differ by one at most, the larger ones first."""
        small, more = divmod(total, num_workers)
        return cls(tuple(small + (worker < more) for worker in range(num_workers)))

    @property
    def total(self) -> int:
        """Rows of all workers."""
        return sum(self.counts)

    def rows(self, worker: int) -> slice:
        """A worker's rows of the global batch."""
        stops = list(accumulate(self.counts))
        return slice(stops[worker] - self.counts[worker], stops[worker])


@dataclass(frozen=True)
class BatchShards:
    """How a global batch is spread over workers; captions belong to their video's worker."""

    videos: Shards
    captions: Shards


class Workers:
    """One process that trains alone: everything is its own, nothing is exchanged."""

    rank = 0
    size = 1
    # Bytes that this worker received from others.
    exchanged_bytes = 0

    def gather_rows(
        self, rows: Float[Tensor, "own dim"], shards: Shards
    ) -> Float[Tensor, "all dim"]:
        """Rows of all workers; the gradient is the sum of all workers' gradients."""
        return rows

    def gather_columns(
        self, values: Float[Tensor, "rows own"], shards: Shards
    ) -> Float[Tensor, "rows all"]:
        """Columns of all workers; the gradient is that of this worker's columns alone.

        For values from which every worker computes the same, so that all find the same gradient.
        """
        return values

    def all_rows(
        self, rows: Shaped[Tensor, "own *dims"], shards: Shards
    ) -> Shaped[Tensor, "all *dims"]:
        """Rows of all workers, without gradient."""
        return rows

    def sum(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """Sum over all workers, element by element, without gradient."""
        return values

    def largest(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """Maximum over all workers, element by element, without gradient."""
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all workers."""

    def first_decides(self, value: int) -> int:
        """The first worker's value."""
        return value

    def any_wished(self, wish: bool) -> bool:
        """Whether any worker passed True at the call before; for one process, at this call.

        All workers must call it equally often; all get the same answer. None waits for it: the
        exchange runs while the step between two calls is computed, and never on the device.
        """
        return wish


ALONE = Workers()


class GroupWorkers(Workers):
    """Workers of a `torch.distributed` process group, NCCL on GPUs and gloo on CPUs.

    Args:
        group: The group; None: the default one, which must be initialised.
    """

    def __init__(self, group: distributed.ProcessGroup | None = None) -> None:
        self._group = group
        self.rank = distributed.get_rank(group)
        self.size = distributed.get_world_size(group)
        self.exchanged_bytes = 0
        self._wishes: distributed.ProcessGroup | None = None
        self._sent_wish: tuple[Tensor, distributed.Work] | None = None

    def gather_rows(
        self, rows: Float[Tensor, "own dim"], shards: Shards
    ) -> Float[Tensor, "all dim"]:
        """See `Workers.gather_rows`."""
        gathered: Tensor = _GatherRows.apply(rows, shards, self)  # type: ignore[no-untyped-call]
        return gathered

    def gather_columns(
        self, values: Float[Tensor, "rows own"], shards: Shards
    ) -> Float[Tensor, "rows all"]:
        """See `Workers.gather_columns`."""
        others = self.all_rows(values.detach().T, shards)
        parts = [part.T for part in others.split(shards.counts)]
        parts[self.rank] = values
        return torch.cat(parts, dim=1)

    def sum(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """See `Workers.sum`."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def largest(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """See `Workers.largest`."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """See `Workers.sum_gradients`."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One exchange instead of hundreds of small ones.
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        parts = self.sum(flat).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def first_decides(self, value: int) -> int:
        """See `Workers.first_decides`."""
        device = "cuda" if distributed.get_backend(self._group) == "nccl" else "cpu"
        decided = torch.tensor(value, device=device)
        distributed.broadcast(decided, group=self._group, group_src=0)
        return int(decided)

    def any_wished(self, wish: bool) -> bool:
        """See `Workers.any_wished`."""
        answer = False
        if self._sent_wish is not None:
            wishes, exchange = self._sent_wish
            exchange.wait()
            answer = bool(wishes)
        wishes = torch.tensor(int(wish))
        exchange = distributed.all_reduce(
            wishes, distributed.ReduceOp.MAX, group=self._wish_group(), async_op=True
        )
        self._sent_wish = (wishes, exchange)
        return answer

    def _wish_group(self) -> distributed.ProcessGroup:
        """A second group: NCCL would move wishes to the GPU, and one group runs in order."""
        if self._wishes is None:
            members = distributed.get_process_group_ranks(self._group or distributed.group.WORLD)
            self._wishes = distributed.new_group(members, backend="gloo")
        return self._wishes

    def all_rows(
        self, rows: Shaped[Tensor, "own *dims"], shards: Shards
    ) -> Shaped[Tensor, "all *dims"]:
        """See `Workers.all_rows`. Rows are padded to the longest shard: sizes must be equal."""
        longest = max(shards.counts)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded, group=self._group)
        self._count(padded, times=self.size - 1)
        return torch.cat([part[:count] for part, count in zip(parts, shards.counts, strict=True)])

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:  # noqa: ANN401
        reduced = values.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(reduced, operation, group=self._group)
        # In a ring each worker receives about two copies, less its own share.
        self._count(reduced, times=2 * (self.size - 1) / self.size)
        return reduced

    def _count(self, values: Tensor, times: float) -> None:
        """Count the bytes that this worker receives."""
        self.exchanged_bytes += round(times * values.numel() * values.element_size())


class _GatherRows(torch.autograd.Function):
    """Rows of all workers in order; every worker's gradient goes to the rows' owner."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        rows: Float[Tensor, "own dim"],
        shards: Shards,
        workers: GroupWorkers,
    ) -> Float[Tensor, "all dim"]:
        ctx.shards, ctx.workers = shards, workers
        return workers.all_rows(rows, shards)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        own: Tensor = ctx.workers.sum(gradients[0])[ctx.shards.rows(ctx.workers.rank)]
        return own, None, None
