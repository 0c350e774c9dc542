"""The nodes that trials run on, and how the trials of a sweep are packed onto them.

The plan, the launch and the executors all use this module, so that the plan shows what will run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.base.holdings import Holding, held_by_others
from orchestrator.base.machine import Gpu, available_cpus, memory, visible_gpus
from orchestrator.cluster.machine_kinds import ACCELERATOR, accelerator_name

DRIVER_RESOURCE = "train_driver"
"""Resource that a cluster's head offers to the drivers of trials of several workers."""
DRIVER_SHARE = 0.01
"""How much of it one such driver takes: it computes nothing, but Ray refuses an empty request."""
COMING_LIMIT_S = 1200.0
"""Seconds for a cloud machine to start: bought, booted, set up; spot requests are repeated."""
# Quotients such as 0.29 / 0.01 may come out just below the whole number.
_ROUNDING = 1e-9
# An estimate of memory may be this many times too high; less memory than that can never fit.
_MEMORY_DOUBT = 2


@dataclass(frozen=True)
class Node:
    """One machine, as plain numbers.

    Args:
        cpus: CPUs for trials.
        gpus: Number of whole GPUs.
        memory_bytes: Memory for trials; None: not known.
        name: Its name, e.g. its IP address.
        resources: Its other resources, e.g. `train_driver`.
        labels: Other facts, e.g. the kind of its GPUs.
        held: What other sweeps hold of it; the numbers above leave that out.
    """

    cpus: float
    gpus: float = 0
    memory_bytes: int | None = None
    name: str = "this machine"
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    held: tuple[Holding, ...] = ()

    @classmethod
    def here(cls) -> "Node":
        """What this process may use of this machine, less what other sweeps hold."""
        held = held_by_others()
        cpus = available_cpus() - sum(holding.cpus for holding in held)
        unused_bytes = sum(holding.unused_bytes for holding in held)
        return cls(
            cpus=max(0.0, cpus),
            gpus=len(gpus := free_gpus(held)),
            memory_bytes=max(0, memory().available_bytes - unused_bytes),
            labels={ACCELERATOR: accelerator_name(gpus[0].name)} if gpus else {},
            held=held,
        )


def free_gpus(held: Sequence[Holding]) -> tuple[Gpu, ...]:
    """GPUs that this process sees and no other sweep holds."""
    taken = {identity for holding in held for identity in holding.gpus}
    return tuple(gpu for gpu in visible_gpus() if gpu.identity not in taken)


@dataclass(frozen=True)
class RunningCluster:
    """A Ray cluster that was running before the sweep.

    Args:
        address: `auto`, or HOST:PORT of its head.
        nodes: Its living nodes with all their resources, and nodes that may still start.
        sent_store: Path of a small store that travels to its nodes with the sweep; None: nodes
            read the data at its own location.
        is_growing: Whether an autoscaler starts nodes and replaces lost ones.
    """

    address: str
    nodes: Sequence[Node]
    sent_store: str | None = None
    is_growing: bool = False


@dataclass(frozen=True)
class MemoryNeed:
    """Memory of a worker in bytes: its own, and the mapped files that it shares with others.

    Args:
        fixed_bytes: Memory that does not depend on the batch.
        video_bytes: Memory for each video of the worker's share of a batch; 0: not known.
        videos: Size of that share.
        floor_bytes: Lower limit whatever the batch, since work outside of a step needs memory too.
        is_estimate: Whether it was estimated; a size that the user states is taken as exact.
        shared_bytes: Files of prepared data that all workers of a machine map: in memory once.
    """

    fixed_bytes: int
    video_bytes: int = 0
    videos: int = 0
    floor_bytes: int = 0
    is_estimate: bool = False
    shared_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """What the system counts as the worker's at its peak, `memory/peak_mb` of its trial."""
        return self.total_bytes + self.shared_bytes

    @property
    def total_bytes(self) -> int:
        """The largest need of its own at any moment."""
        return max(self.floor_bytes, self.fixed_bytes + self.video_bytes * self.videos)

    @property
    def least_bytes(self) -> int:
        """What a worker takes even if the estimate is far too high."""
        return self.total_bytes // _MEMORY_DOUBT if self.is_estimate else self.total_bytes

    def shifted(self, extra_bytes: int) -> "MemoryNeed":
        """The same need with `extra_bytes` more (or less, if negative) at every moment."""
        fixed, floor = self.fixed_bytes + extra_bytes, self.floor_bytes + extra_bytes
        return replace(self, fixed_bytes=fixed, floor_bytes=floor)


@dataclass(frozen=True)
class TrialNeeds:
    """What one trial occupies while it runs.

    Args:
        workers: Processes that train it together. One trains in the trial's own actor. Several
            have a driver beside them, which takes no CPU and a little of `train_driver`, if the
            cluster offers that.
        cpus: CPUs of each worker.
        gpus: GPUs of each worker; a fraction for one-worker trials only.
        memory: Memory of each worker; None: not known.
    """

    workers: int = 1
    cpus: int = 1
    gpus: float = 0.0
    memory: MemoryNeed | None = None

    def slots_on(self, node: Node) -> int:
        """How many such workers a node holds at once."""
        slots = [math.floor(node.cpus / self.cpus + _ROUNDING)]
        if self.gpus >= 1:
            slots.append(math.floor(node.gpus / self.gpus + _ROUNDING))
        elif self.gpus:
            # A fraction lies on one GPU: 0.4 fits twice on each, never across two.
            slots.append(math.floor(1 / self.gpus + _ROUNDING) * math.floor(node.gpus))
        if self.memory is not None and node.memory_bytes is not None:
            own = max(1, self.memory.total_bytes)
            left = node.memory_bytes - self.memory.shared_bytes
            # Where mapped files do not fit, the system drops pages and reads them again.
            slots.append(max(left // own, min(1, node.memory_bytes // own)))
        return min(slots)

    def drivers_on(self, node: Node) -> int:
        """How many drivers of such trials a node holds at once."""
        return math.floor(node.resources.get(DRIVER_RESOURCE, 0.0) / DRIVER_SHARE + _ROUNDING)


@dataclass(frozen=True)
class Packing:
    """How many trials fit at once, and where.

    Args:
        needs: What each trial occupies.
        nodes: All nodes, including those without room.
        placed: For each trial, how many of its workers run on each node.
        is_tight: Whether the estimated memory is more than there is; one trial is still tried,
            since the estimate may be too high.
    """

    needs: TrialNeeds
    nodes: tuple[Node, ...]
    placed: tuple[tuple[int, ...], ...]
    is_tight: bool = False

    @property
    def trials(self) -> int:
        """Trials at once."""
        return len(self.placed)

    @property
    def workers(self) -> tuple[int, ...]:
        """Workers on each node."""
        return tuple(sum(trial[index] for trial in self.placed) for index in range(len(self.nodes)))

    @property
    def bundle(self) -> dict[str, float]:
        """Resources to ask of Ray for each worker; without memory, Ray would overfill a node."""
        asked: dict[str, float] = {"CPU": self.needs.cpus, "GPU": self.needs.gpus}
        memory = self.needs.memory
        if memory is not None and all(node.memory_bytes is not None for node in self.nodes):
            asked["memory"] = memory.least_bytes if self.is_tight else memory.total_bytes
        return {name: amount for name, amount in asked.items() if amount}


def pack(needs: TrialNeeds, nodes: Sequence[Node]) -> Packing | None:
    """Pack as many trials as fit at once.

    Workers of all trials are alike, so each takes one slot, and no order of starts wastes a slot:
    the number is exact, however Ray places them. If other sweeps hold all CPUs, one trial shares
    them and runs slowly.

    Returns:
        None if not even one trial fits on empty nodes.
    """
    trials = _room(needs, nodes)
    if trials:
        return Packing(needs, tuple(nodes), _place(needs, nodes, trials))
    shared = [replace(node, cpus=node.cpus + held_cpus(node)) for node in nodes]
    if _room(needs, shared):
        return Packing(needs, tuple(nodes), _place(needs, shared, 1))
    lighter = _lightest(needs)
    if _room(lighter, shared):
        return Packing(needs, tuple(nodes), _place(lighter, shared, 1), is_tight=True)
    return None


def held_cpus(node: Node) -> float:
    """CPUs of a node that other sweeps hold."""
    return sum(holding.cpus for holding in node.held)


def needs_driver(needs: TrialNeeds, nodes: Sequence[Node]) -> bool:
    """Whether a trial's driver takes a resource that some node offers."""
    return needs.workers > 1 and any(DRIVER_RESOURCE in node.resources for node in nodes)


def _room(needs: TrialNeeds, nodes: Sequence[Node]) -> int:
    trials = sum(needs.slots_on(node) for node in nodes) // needs.workers
    if needs_driver(needs, nodes):
        trials = min(trials, sum(needs.drivers_on(node) for node in nodes))
    return trials


def _lightest(needs: TrialNeeds) -> TrialNeeds:
    """The same needs if the estimate of memory is far too high."""
    if needs.memory is None:
        return needs
    return replace(needs, memory=MemoryNeed(needs.memory.least_bytes))


def _place(needs: TrialNeeds, nodes: Sequence[Node], trials: int) -> tuple[tuple[int, ...], ...]:
    """Workers of each trial on each node: all on one node if it has room, else on few nodes."""
    free = [needs.slots_on(node) for node in nodes]
    placed = []
    for _ in range(trials):
        taken = [0] * len(nodes)
        while (left := needs.workers - sum(taken)) > 0:
            index = _best_node(free, left)
            assert free[index], "more trials are to be placed than there is room for"
            taken[index] = min(left, free[index])
            free[index] -= taken[index]
        placed.append(tuple(taken))
    return tuple(placed)


def _best_node(free: Sequence[int], wanted: int) -> int:
    """The fullest node that has enough slots, so that others stay whole; else the emptiest."""
    enough = [index for index, slots in enumerate(free) if slots >= wanted]
    if enough:
        return min(enough, key=lambda index: free[index])
    return max(range(len(free)), key=lambda index: free[index])
