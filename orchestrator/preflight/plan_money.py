"""What a plan costs in money, by the prices of the nodes that its trials are packed onto."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.base.text import amount
from orchestrator.cluster.capacity import Node, Packing
from orchestrator.cluster.machine_kinds import kind_of, node_types
from orchestrator.preflight.epoch_band import Band
from orchestrator.spec.prices import MachineKind, Prices
from orchestrator.spec.sections import TrialResources


@dataclass(frozen=True)
class PlanMoney:
    """Money that a sweep will cost.

    Args:
        currency: Its currency.
        band: Least, expected and most; None where no epoch is timed, or no node has a price.
        spot: What is expected if all trials run on spot machines; None where none is planned on
            both these and others.
        on_demand: The same for the others.
        lacks: Which prices are missing for nodes that may run trials.
        is_assumed: Whether nodes whose kind is not known count at the highest price.
    """

    currency: str
    band: Band | None
    spot: float | None = None
    on_demand: float | None = None
    lacks: tuple[str, ...] = ()
    is_assumed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """The money in words."""
        if self.band is None:
            return [f"not known: {'; '.join(self.lacks) or 'no epoch is timed yet'}"]
        lines = [self.text]
        if self.spot is not None and self.on_demand is not None:
            spot = f"{amount(self.spot)} if all run on spot machines"
            lines.append(f"{spot}, {amount(self.on_demand)} if none does")
        if self.is_assumed:
            lines.append("at the highest price, as the kind of the machine is not known")
        return [*lines, *(f"left out: {lack}" for lack in self.lacks)]

    @property
    def text(self) -> str:
        """What is expected, and the most; empty where it is not known."""
        if self.band is None:
            return ""
        most = amount(self.band.most, self.currency)
        if self.band.least == self.band.most:
            return most
        return f"{amount(self.band.expected, self.currency)} expected, at most {most}"


def plan_money(
    prices: Prices,
    resources: TrialResources,
    packing: Packing,
    others: Sequence[Node],
    hours: Band | None,
) -> PlanMoney:
    """What a sweep costs.

    Args:
        prices: Prices of machines.
        resources: What a trial occupies.
        packing: The nodes of its trials.
        others: Nodes of the kinds that may come in their place, for which the most allows.
        hours: Hours of all workers together; None: no epoch is timed.
    """
    workers = _workers(packing, others)
    every = {kind: prices.hour(kind, resources) for kind in workers}
    known = {kind: price for kind, price in every.items() if price is not None}
    lacks = [prices.lacks(kind, resources) for kind, price in every.items() if price is None]
    planned = {kind: price for kind, price in known.items() if workers[kind]}

    expected, band = _mean(planned, workers), None
    apart: list[float] = []
    if hours is not None and expected is not None:
        least, most = min(planned.values()), max(known.values())
        band = Band(hours.least * least, hours.expected * expected, hours.most * most)
        means = (_mean(planned, workers, is_spot=is_spot) for is_spot in (True, False))
        apart = [hours.expected * mean for mean in means if mean is not None]
    spot, on_demand = apart if len(apart) == 2 else (None, None)
    is_assumed = any(prices.is_assumed(kind, is_recorded=True) for kind in planned)
    return PlanMoney(prices.currency, band, spot, on_demand, tuple(lacks), is_assumed)


def _mean(
    prices: Mapping[MachineKind, float],
    workers: Mapping[MachineKind, int],
    *,
    is_spot: bool | None = None,
) -> float | None:
    """Mean price of an hour of a worker, on spot machines or others; None: both."""
    own = [kind for kind in prices if is_spot is None or bool(kind.is_spot) is is_spot]
    total = sum(workers[kind] for kind in own)
    return sum(prices[kind] * workers[kind] for kind in own) / total if own else None


def total_money(parts: Iterable[PlanMoney | None]) -> PlanMoney | None:
    """Money of the plans of a joint sweep's parts; None where that of one is not known."""
    listed = [part for part in parts if part is not None]
    bands = [part.band for part in listed if part.band is not None]
    if not listed or len(bands) < len(listed):
        return None
    least, expected, most = (
        sum(getattr(band, name) for band in bands) for name in ("least", "expected", "most")
    )
    lacks = dict.fromkeys(lack for part in listed for lack in part.lacks)
    return PlanMoney(listed[0].currency, Band(least, expected, most), lacks=tuple(lacks))


def _workers(packing: Packing, others: Sequence[Node]) -> Mapping[MachineKind, int]:
    """Workers on each kind of machine; 0 for those that may come instead."""
    types = node_types()
    found = {kind_of(node.labels, types): 0 for node in others if packing.needs.slots_on(node) > 0}
    for node, workers in zip(packing.nodes, packing.workers, strict=True):
        if workers:
            kind = kind_of(node.labels, types)
            found[kind] = found.get(kind, 0) + workers
    return found
