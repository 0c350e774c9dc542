"""States of the random generators of all workers, for a checkpoint in the middle of an epoch."""

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from prvr_model.process_group import Shards, Workers

_CPU, _DEVICE = "cpu", "cuda"


def of_all(device: torch.device, workers: Workers) -> dict[str, Shaped[Tensor, "workers bytes"]]:
    """Every worker's states, a row each, by generator; all workers call this together."""
    own = {_CPU: torch.get_rng_state()}
    if device.type == "cuda":
        own[_DEVICE] = torch.cuda.get_rng_state(device)
    shards = Shards.even(workers.size, workers.size)
    # NCCL exchanges only what is on the device.
    rows = {name: workers.all_rows(state[None].to(device), shards) for name, state in own.items()}
    return {name: gathered.cpu() for name, gathered in rows.items()}


def restore(
    states: Mapping[str, Shaped[Tensor, "workers bytes"]], device: torch.device, workers: Workers
) -> None:
    """Set this worker's generators; does nothing if the states are of another number of workers."""
    if len(states[_CPU]) != workers.size:
        return
    # A copy, since torch crashes on memory that is not aligned, as a row within a tensor.
    torch.set_rng_state(states[_CPU][workers.rank].clone())
    if device.type == "cuda" and _DEVICE in states:
        torch.cuda.set_rng_state(states[_DEVICE][workers.rank].clone(), device)
