"""What the work of a sweep's trials costs, by the prices of the machines that did it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.base.errors import SpecError
from orchestrator.base.text import amount, count, two_digits
from orchestrator.spec.loading import read_spec
from orchestrator.spec.prices import MachineKind, Prices, given_prices
from orchestrator.spec.sections import TrialResources
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState
from orchestrator.study.work import Work, work_of

_S_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """An amount of money, and what is in it.

    Args:
        currency: Its currency.
        on_demand: Work on machines on demand, on your own, and on those that are not known.
        spot: Work on spot machines.
        failed: Of both, the work of trials that failed.
        lost: Of both, the parts of epochs that other trials lost with their slot.
        losses: How many such parts there are.
        assumed: Of both, work on machines that are not known, at the highest price.
        unpriced_hours: GPU-hours, or CPU-hours of trials without GPUs, that are in none of these
            amounts, by the price that is missing.
        unpriced_most: What those would cost at the highest price.
        device: What those hours are of, `GPU` or `CPU`.
    """

    currency: str
    on_demand: float = 0.0
    spot: float = 0.0
    failed: float = 0.0
    lost: float = 0.0
    losses: int = 0
    assumed: float = 0.0
    unpriced_hours: Mapping[str, float] = field(default_factory=dict)
    unpriced_most: float = 0.0
    device: str = "GPU"

    @property
    def total(self) -> float:
        """Everything that has a price."""
        return self.on_demand + self.spot

    @property
    def most(self) -> float:
        """Everything, what has no price at the highest one."""
        return self.total + self.unpriced_most

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = ("on_demand", "spot", "failed", "lost", "losses", "assumed")
        return {
            "currency": self.currency,
            "total": self.total,
            **{name: getattr(self, name) for name in names},
            "unpriced_hours": dict(self.unpriced_hours),
        }

    @property
    def text(self) -> str:
        """The amount in words, with what is in it and what is not."""
        return "; ".join([self._sum(), *self._parts()])

    def _sum(self) -> str:
        total = amount(self.total, self.currency)
        if self.spot and self.on_demand:
            return f"{total} ({amount(self.on_demand)} on demand, {amount(self.spot)} spot)"
        return f"{total} (spot)" if self.spot else total

    def _parts(self) -> Iterator[str]:
        if self.failed:
            yield f"{amount(self.failed)} of it by trials that failed"
        if self.losses:
            cut = count(self.losses, "epoch")
            yield f"{amount(self.lost)} of it for {cut} that evictions or interruptions cut off"
        if self.assumed:
            yield f"{amount(self.assumed)} of it at the highest price, as the machine is not known"
        for lack, hours in self.unpriced_hours.items():
            yield f"{two_digits(hours)} {self.device}-hours are not in it: {lack}"


def total_cost(costs: Iterable[Cost | None]) -> Cost | None:
    """The sum of the costs of a joint sweep's parts; None without one, or in two currencies."""
    listed = [cost for cost in costs if cost is not None]
    if len({cost.currency for cost in listed}) != 1:
        return None
    hours: dict[str, float] = {}
    for cost in listed:
        for lack, more in cost.unpriced_hours.items():
            hours[lack] = hours.get(lack, 0.0) + more
    return Cost(
        listed[0].currency,
        sum(cost.on_demand for cost in listed),
        sum(cost.spot for cost in listed),
        sum(cost.failed for cost in listed),
        sum(cost.lost for cost in listed),
        sum(cost.losses for cost in listed),
        sum(cost.assumed for cost in listed),
        hours,
        sum(cost.unpriced_most for cost in listed),
        listed[0].device,
    )


def sweep_cost(study: StudyReader) -> Cost | None:
    """What a sweep cost so far; None without prices, or if another version wrote its spec.

    Raises:
        SpecError: The file that `PRVR_PRICES` names is no list of prices.
    """
    text = study.attributes.get("spec_yaml", "")
    # A spec takes time to read, and most sweeps have no prices.
    if "\nprices:" not in text and given_prices() is None:
        return None
    try:
        spec = read_spec(text, source=f"sweep {study.name}")
    except SpecError:
        return None
    return cost_by(spec, study)


def cost_by(spec: SweepSpec, study: StudyReader) -> Cost | None:
    """What a sweep cost so far by the prices of its spec, else those of `PRVR_PRICES`.

    Raises:
        SpecError: The file that `PRVR_PRICES` names is no list of prices.
    """
    prices = spec.prices or given_prices()
    return None if prices is None else cost_of(prices, spec.resources, study)


def cost_of(prices: Prices, resources: TrialResources, study: StudyReader) -> Cost:
    """What the trials of a sweep cost so far.

    Args:
        prices: Prices of machines.
        resources: What a trial occupies.
        study: The sweep's study.
    """
    failed = {trial.number for trial in study.summaries() if trial.state is TrialState.FAILED}
    return priced(prices, resources, work_of(study), failed.__contains__)


def priced(
    prices: Prices,
    resources: TrialResources,
    work: Iterable[Work],
    has_failed: Callable[[int], bool],
) -> Cost:
    """What work costs.

    Args:
        prices: Prices of machines.
        resources: What a trial occupies.
        work: The work.
        has_failed: Whether a trial, by its number, has failed.
    """
    highest = prices.highest(resources) or 0.0
    device, devices = ("GPU", resources.gpus) if resources.gpus else ("CPU", resources.cpus)
    sums = dict.fromkeys(("on_demand", "spot", "failed", "lost", "assumed", "unpriced_most"), 0.0)
    losses, lacks = 0, dict[str, float]()
    for done in work:
        is_loss = done.kind == "lost" and not has_failed(done.trial)
        losses += is_loss
        for workers, kind in done.workers or [(resources.workers, MachineKind())]:
            hours = workers * done.seconds / _S_PER_HOUR
            price = prices.hour(kind, resources)
            if price is None:
                lack = prices.lacks(kind, resources)
                lacks[lack] = lacks.get(lack, 0.0) + hours * devices
                sums["unpriced_most"] += hours * highest
                continue
            sums["spot" if kind.is_spot else "on_demand"] += hours * price
            sums["failed"] += hours * price * has_failed(done.trial)
            sums["lost"] += hours * price * is_loss
            is_assumed = prices.is_assumed(kind, is_recorded=bool(done.workers))
            sums["assumed"] += hours * price * is_assumed
    return Cost(prices.currency, losses=losses, unpriced_hours=lacks, device=device, **sums)
