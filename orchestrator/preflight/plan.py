"""What a sweep will do and about what it costs, said before anything starts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from orchestrator.base.errors import ProbeError
from orchestrator.cluster.autoscaler import coming_nodes, worker_types
from orchestrator.cluster.capacity import MemoryNeed, Node, Packing
from orchestrator.cluster.client import attached_cluster
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.preflight.check_machine import check_room
from orchestrator.preflight.epoch_band import Band, epoch_band, shortest_trial_epochs
from orchestrator.preflight.epoch_time import EpochTime, probed_time, rough_time
from orchestrator.preflight.estimate import DRAWN_TRIALS, trial_needs, worker_memory
from orchestrator.preflight.plan_limits import PlanLimits, plan_limits
from orchestrator.preflight.plan_money import PlanMoney, plan_money
from orchestrator.preflight.plan_warnings import fit_warnings, precision_warnings, sharing_warnings
from orchestrator.preflight.probing import probe_here, probe_request
from orchestrator.spec.data import DataSize, check_labels, data_size, data_warnings
from orchestrator.spec.search_space import drawn_settings
from orchestrator.spec.sweep_spec import SweepSpec, most_trials, race_of
from orchestrator.spec.warnings import spec_warnings
from prvr_model.settings import Settings
from prvr_model.training.probe_messages import ProbeRequest, ProbeResult


@dataclass(frozen=True)
class Plan:
    """What a sweep will do and cost.

    Args:
        spec: The resolved spec.
        packing: How many trials fit at once on what there is, and where.
        trials: Number of trials, those of rounds that may follow left out.
        most_trials: Number of trials with every round that may follow.
        trials_at_once: How many run at the same time.
        epochs: Epochs of all trials together: least, expected, most.
        time: Time of one epoch of one trial; None where it is not known.
        probe: What was measured, and where; None where nothing was.
        known: How many of the trials need no training, since their results are known.
        warnings: What is allowed but probably not meant.
        others: A node of each kind that a cluster may start besides.
        limits: How much of the space the limits leave; None without limits.
    """

    spec: SweepSpec
    packing: Packing
    trials: int
    most_trials: int
    trials_at_once: int
    epochs: Band
    time: EpochTime | None = None
    probe: "Probe | None" = None
    known: int = 0
    warnings: tuple[str, ...] = ()
    others: tuple[Node, ...] = ()
    limits: PlanLimits | None = None

    @property
    def seconds(self) -> Band | None:
        """Wall time of the training itself, without start-up."""
        if self.time is None:
            return None
        waves = -(-(self.most_trials - self.known) // self.trials_at_once)
        shortest, longest = shortest_trial_epochs(self.spec), self.spec.max_epochs
        if not waves:
            return Band(0, 0, 0)
        epochs = Band(
            max(self.epochs.least / self.trials_at_once, shortest),
            min(max(self.epochs.expected / self.trials_at_once, longest), waves * longest),
            waves * longest,
        )
        return epochs.times(self.time)

    def hours(self, each: float) -> Band | None:
        """Device hours where each worker has `each` devices, e.g. GPUs."""
        if self.time is None:
            return None
        share = each * self.spec.resources.workers / 3600
        seconds = self.epochs.times(self.time)
        return Band(share * seconds.least, share * seconds.expected, share * seconds.most)

    @property
    def money(self) -> PlanMoney | None:
        """What it will cost; None without prices."""
        spec = self.spec
        if spec.prices is None:
            return None
        return plan_money(spec.prices, spec.resources, self.packing, self.others, self.hours(1))

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        resources = self.spec.resources
        memory = self.packing.needs.memory
        return {
            "sweep": self.spec.name,
            "question": self.spec.question,
            "trials": self.trials,
            "most_trials": self.most_trials,
            "points": self.spec.num_points,
            "known": self.known,
            "trials_at_once": self.trials_at_once,
            "room": self.packing.trials,
            "nodes": self._nodes(),
            "memory_bytes": memory.peak_bytes if memory else None,
            "max_epochs": self.spec.max_epochs,
            "epochs": asdict(self.epochs),
            "seconds_per_epoch": self.time.to_dict() if self.time else None,
            "seconds": _dict_or_none(self.seconds),
            "cpu_hours": _dict_or_none(self.hours(resources.cpus)),
            "gpu_hours": _dict_or_none(self.hours(resources.gpus)),
            **({"money": money.to_dict()} if (money := self.money) else {}),
            "probe": self.probe.to_dict() if self.probe else None,
            "limits": self.limits.to_dict() if self.limits else None,
            "warnings": list(self.warnings),
            **_table(self.spec),
            "spec": self.spec.model_dump(mode="json", by_alias=True),
        }

    def _nodes(self) -> list[dict[str, Any]]:
        pairs = zip(self.packing.nodes, self.packing.workers, strict=True)
        return [
            {**asdict(node), "held": [str(held) for held in node.held], "workers": workers}
            for node, workers in pairs
        ]


@dataclass(frozen=True)
class Probe:
    """The node that a probe ran on, what it measured, and what it was asked."""

    node: str
    result: ProbeResult
    request: ProbeRequest

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"node": self.node, **self.result.model_dump(mode="json")}


def build_plan(
    spec: SweepSpec,
    packing: Packing,
    time: EpochTime | None = None,
    probe: Probe | None = None,
    warnings: Sequence[str] = (),
    known: int = 0,
) -> Plan:
    """Plan a packed sweep of whose trials `known` need no training; starts nothing."""
    fitting = packing.trials
    at_once = min(fitting, spec.concurrency or fitting, spec.num_trials)
    return Plan(
        spec=spec,
        packing=packing,
        trials=spec.num_trials,
        most_trials=most_trials(spec),
        trials_at_once=at_once,
        epochs=epoch_band(spec, known),
        time=time,
        probe=probe,
        known=known,
        warnings=(*spec_warnings(spec), *fit_warnings(spec, packing), *warnings),
    )


def plan_here(
    spec: SweepSpec, *, probe: bool = False, tell: "_Tell | None" = None, known: int = 0
) -> Plan:
    """Plan for this machine.

    Args:
        spec: The sweep.
        probe: Time the training step, which takes half a minute; else the sizes of model and
            data give a rough time.
        tell: Takes a line for the user when something takes its time.
        known: How many trials need no training, see `known_runs`.

    Raises:
        SpecError: A trial can never fit; says what would.
        StoreError: The store is missing or damaged.
    """
    here = Node.here()

    def ask(request: ProbeRequest, _: Packing) -> tuple[str, ProbeResult]:
        _say(tell, here.name)
        return here.name, probe_here(request)

    room = [f"{found.message}; {found.remedy}" for found in check_room() if found.remedy]
    return _plan(spec, [here], ask if probe else None, room, known)


def plan_on(
    spec: SweepSpec,
    address: str,
    *,
    probe: bool = True,
    tell: "_Tell | None" = None,
    known: int = 0,
) -> Plan:
    """Plan for a running cluster, which is left as it is.

    Args:
        spec: The sweep.
        address: `auto`, or HOST:PORT of its head.
        probe: Time the training step on one of its workers.
        tell: Takes a line for the user when something takes its time.
        known: How many trials need no training, see `known_runs`.

    Raises:
        ClusterError: Nothing answers at the address.
        SpecError: A trial can never fit, even if nothing else ran there; says what would.
        StoreError: The store is missing or damaged.
    """
    # A mistake in the data is reported before the cluster is waited for.
    data_size(spec.data)
    with attached_cluster(address) as cluster:

        def ask(request: ProbeRequest, packing: Packing) -> tuple[str, ProbeResult]:
            _say(tell, f"one worker of the cluster at {address}")
            return cluster.probe(request, packing.bundle)

        busy = [f"in use now: {cluster.busy}; trials wait for them"] if cluster.busy else []
        coming = coming_nodes(cluster.nodes)
        # Where nothing runs yet a probe would wait for a machine to be bought.
        ask_now = ask if probe and not (coming and len(cluster.nodes) == 1) else None
        planned = _plan(spec, [*cluster.nodes, *coming], ask_now, busy, known)
        return replace(planned, others=tuple(worker_types()))


_Tell: TypeAlias = Callable[[str], None]
_Ask: TypeAlias = Callable[[ProbeRequest, Packing], tuple[str, ProbeResult]]
"""Runs a probe where the packing has a worker; gives its node and what was measured."""


def _say(tell: _Tell | None, where: str) -> None:
    if tell is not None:
        tell(f"timing the training step on {where}, for about half a minute")


def _plan(
    spec: SweepSpec,
    nodes: Sequence[Node],
    ask: _Ask | None,
    warnings: Sequence[str] = (),
    known: int = 0,
) -> Plan:
    size, drawn = data_size(spec.data), drawn_settings(spec, DRAWN_TRIALS)
    check_labels(spec)
    memory = worker_memory(drawn, size, spec.speed, spec.resources)
    packing = pack_or_refuse(trial_needs(spec.resources, memory), nodes)
    time = rough_time(drawn, size, spec.speed, spec.resources.workers)
    limits = plan_limits(spec, size)
    warnings = [*data_warnings(spec.data), *(limits.warnings if limits else ()), *warnings]
    rough = build_plan(spec, packing, time, warnings=warnings, known=known)
    planned = _with_probe(rough, ask, drawn, size, warnings) if ask else rough
    return replace(planned, limits=limits)


def _with_probe(
    rough: Plan, ask: _Ask, drawn: Sequence[Settings], size: DataSize, warnings: Sequence[str]
) -> Plan:
    """The plan with what a probe measured in place of estimates; the rough one where it fails."""
    spec, packing = rough.spec, rough.packing
    try:
        request = probe_request(drawn, size, spec.speed, spec.resources.workers)
        probe = Probe(*ask(request, packing), request)
    except ProbeError as error:
        failed = f"the probe failed, so times are rough: {error}"
        return replace(rough, warnings=(*rough.warnings, failed))
    memory = _measured_memory(spec, packing.needs.memory, probe)
    return build_plan(
        spec,
        pack_or_refuse(trial_needs(spec.resources, memory), packing.nodes),
        probed_time(drawn, size, request, probe.result, spec.resources.workers),
        probe,
        [
            *warnings,
            *sharing_warnings(spec, probe.result),
            *precision_warnings(spec, probe.result),
        ],
        rough.known,
    )


def _measured_memory(spec: SweepSpec, memory: MemoryNeed | None, probe: Probe) -> MemoryNeed | None:
    """The estimate, corrected by what it was off at the size that was probed."""
    if memory is None or not memory.is_estimate:
        return memory
    stage, request = probe.result.stages[-1], probe.request
    size = DataSize(
        stage.videos,
        stage.val_videos,
        request.video_dim,
        request.text_dim,
        request.captions_per_video,
        request.tokens_per_caption,
    )
    alone = spec.resources.model_copy(update={"workers": 1})
    estimate = worker_memory([request.settings], size, request.speed, alone)
    return memory.shifted(probe.result.memory_bytes - estimate.peak_bytes)


def _table(spec: SweepSpec) -> dict[str, Any]:
    """An ablation's rows and seeds; nothing in a search."""
    if spec.ablation is None:
        return {}
    race = race_of(spec)
    rows = [{"name": row.name, "overrides": row.overrides} for row in spec.rows]
    looks = list(race.looks) if race else [spec.ablation.num_seeds]
    return {"rows": rows, "seeds": list(spec.seeds()), "looks": looks}


def _dict_or_none(band: Band | None) -> dict[str, float] | None:
    return asdict(band) if band else None
