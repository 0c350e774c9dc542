"""Why a trial can never fit, and the nearest setting that would."""

import math
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.base.errors import SpecError
from orchestrator.base.text import count, gib
from orchestrator.cluster.capacity import (
    DRIVER_RESOURCE,
    DRIVER_SHARE,
    MemoryNeed,
    Node,
    Packing,
    TrialNeeds,
    needs_driver,
    pack,
)

# Fewer videos have no negatives.
_LEAST_BATCH = 2


def pack_or_refuse(needs: TrialNeeds, nodes: Sequence[Node]) -> Packing:
    """Pack as many trials as fit at once.

    Raises:
        SpecError: Not even one trial fits on empty nodes; says why, and what would fit.
    """
    packing = pack(needs, nodes)
    if packing is None:
        raise SpecError(_problems(needs, nodes))
    return packing


def _problems(needs: TrialNeeds, nodes: Sequence[Node]) -> list[str]:
    if not any(_holds(needs, node) for node in nodes):
        return _worker_problems(needs, nodes)
    if needs_driver(needs, nodes) and not any(needs.drivers_on(node) for node in nodes):
        return [
            f"resources.workers: the driver of {count(needs.workers, 'worker')} takes "
            f"{DRIVER_SHARE} {DRIVER_RESOURCE}, no node has as much; nearest that fits: workers 1"
        ]
    return [_workers_problem(needs, nodes)]


def _holds(needs: TrialNeeds, node: Node) -> bool:
    """Whether a node holds one worker, if need be with less memory than estimated."""
    return pack(replace(needs, workers=1), [node]) is not None


def _workers_problem(needs: TrialNeeds, nodes: Sequence[Node]) -> str:
    """The problem if each worker fits on some node, but not all fit at once."""
    fitting = range(needs.workers - 1, 0, -1)
    room = next(
        num_workers
        for num_workers in fitting
        if pack(replace(needs, workers=num_workers), nodes) is not None
    )
    has = f"there is room for {room}"
    if pack(replace(needs, memory=None), nodes) is not None:
        has += f", since each takes {_memory_words(needs.memory)}"
    options = [f"workers {room}", *_fewer_cpus(needs, nodes)]
    return (
        f"resources.workers: a trial asks for {count(needs.workers, 'worker')} with "
        f"{_each(needs)}, {has}; nearest that fits: {', or '.join(options)}"
    )


def _fewer_cpus(needs: TrialNeeds, nodes: Sequence[Node]) -> list[str]:
    fitting = (
        cpus
        for cpus in range(needs.cpus - 1, 0, -1)
        if pack(replace(needs, cpus=cpus), nodes) is not None
    )
    return [f"cpus {cpus}" for cpus in fitting][:1]


def _worker_problems(needs: TrialNeeds, nodes: Sequence[Node]) -> list[str]:
    """The problems if no node holds even one worker."""
    advice = _nearest(needs, nodes)
    largest = "the largest node" if len(nodes) > 1 else nodes[0].name
    cpus, gpus = (max(getattr(node, name) for node in nodes) for name in ("cpus", "gpus"))
    found = []
    if needs.cpus > cpus:
        asked = count(needs.cpus, "CPU")
        found.append(f"resources.cpus: a worker asks for {asked}, {largest} has {cpus:g}")
    if math.ceil(needs.gpus) > gpus:
        asked = count(needs.gpus, "GPU")
        free = f"{gpus:g}{_held_gpus(nodes)}"
        found.append(f"resources.gpus: a worker asks for {asked}, {largest} has {free}")
    sizes = [node.memory_bytes for node in nodes]
    known = [size for size in sizes if size is not None]
    if needs.memory and len(known) == len(sizes) and needs.memory.least_bytes > max(known):
        path = "training.batch_videos" if needs.memory.is_estimate else "resources.memory_gib"
        words = _memory_words(needs.memory)
        found.append(f"{path}: a worker takes {words}, {largest} has {gib(max(known))}")
    if not found:
        found.append(f"resources: a worker asks for {_each(needs)}, no node has it all")
    return [f"{problem}; {advice}" for problem in found]


def _held_gpus(nodes: Sequence[Node]) -> str:
    """Which sweeps hold GPUs, e.g. ` free (sweep 'cbva' (process 4711): ...)`; empty if none do."""
    holders = [str(holding) for node in nodes for holding in node.held if holding.gpus]
    return f" free ({'; '.join(holders)})" if holders else ""


def _each(needs: TrialNeeds) -> str:
    texts = [count(needs.cpus, "CPU")]
    if needs.gpus:
        texts.append(count(needs.gpus, "GPU"))
    if needs.memory is not None:
        texts.append(_memory_words(needs.memory))
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]


def _memory_words(memory: MemoryNeed | None) -> str:
    assert memory is not None
    about = "about " if memory.is_estimate else ""
    return f"{about}{gib(memory.peak_bytes)} of memory"


def _nearest(needs: TrialNeeds, nodes: Sequence[Node]) -> str:
    """What would fit on the node that needs the smallest change."""
    changed = [(_loss(needs, fit), fit) for node in nodes if (fit := _clipped(needs, node))]
    if not changed:
        return "no setting fits: use a larger machine"
    nearest = min(changed, key=lambda pair: pair[0])[1]
    settings = []
    if nearest.cpus != needs.cpus:
        settings.append(f"cpus {nearest.cpus}")
    if nearest.gpus != needs.gpus:
        settings.append(f"gpus {nearest.gpus:g}")
    settings += _memory_setting(needs, nearest)
    return f"nearest that fits: {' and '.join(settings)}"


def _memory_setting(needs: TrialNeeds, nearest: TrialNeeds) -> list[str]:
    if nearest.memory is None or nearest.memory == needs.memory:
        return []
    if nearest.memory.is_estimate:
        return [f"training.batch_videos {nearest.memory.videos * needs.workers}"]
    return [f"memory_gib {nearest.memory.total_bytes / 2**30:.1f}"]


def _loss(needs: TrialNeeds, nearest: TrialNeeds) -> float:
    """Sum of the shares of each setting that a node lacks."""
    loss = 1 - nearest.cpus / needs.cpus
    if needs.gpus:
        loss += 1 - nearest.gpus / needs.gpus
    if needs.memory and nearest.memory:
        loss += 1 - nearest.memory.total_bytes / needs.memory.total_bytes
    return loss


def _clipped(needs: TrialNeeds, node: Node) -> TrialNeeds | None:
    """The needs of a worker, cut down to what a node has; None if too little would be left."""
    cpus = min(needs.cpus, math.floor(node.cpus))
    gpus = needs.gpus if math.ceil(needs.gpus) <= node.gpus else float(math.floor(node.gpus))
    clipped = replace(needs, cpus=cpus, gpus=gpus, memory=_clipped_memory(needs.memory, node))
    if cpus < 1 or (clipped.memory is None) != (needs.memory is None):
        return None
    return clipped


def _clipped_memory(memory: MemoryNeed | None, node: Node) -> MemoryNeed | None:
    """Memory of a worker that a node has: for fewer videos in a batch, or all of the node's."""
    if memory is None or node.memory_bytes is None or memory.least_bytes <= node.memory_bytes:
        return memory
    if not memory.is_estimate:
        # Rounded down to a tenth of a GiB, as it is shown.
        tenths = node.memory_bytes * 10 // 2**30
        return MemoryNeed(tenths * 2**30 // 10) if tenths else None
    if not memory.video_bytes or memory.floor_bytes > node.memory_bytes:
        return None
    videos = (node.memory_bytes - memory.fixed_bytes) // memory.video_bytes
    return replace(memory, videos=videos) if videos >= _LEAST_BATCH else None
