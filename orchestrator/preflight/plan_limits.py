"""What share of a search's space is within its limits of cost, as far as settings say."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

from orchestrator.spec.data import DataSize
from orchestrator.spec.search_space import drawn_points, resolve
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.goals import cost_text
from prvr_model.errors import SettingsError
from prvr_model.reporting import MEASURED

# The share is right within 7 of 100; drawing takes a tenth of a second.
_DRAWN_POINTS = 200
# At most as many trials are drawn again as were asked for: with less, hardly one may be trained.
_SMALL_SHARE = 0.05


@dataclass(frozen=True)
class PlanLimits:
    """How much of a space the limits leave.

    Args:
        limits: Most that a trial may cost.
        shares: Share of the space within each limit; none for a cost that is measured.
        within: Share of the space within all of these.
        cheapest: The least that was found of each cost.
        drawn: Points that were drawn.
    """

    limits: Mapping[str, float]
    shares: Mapping[str, float]
    within: float
    cheapest: Mapping[str, float]
    drawn: int

    @property
    def lines(self) -> list[str]:
        """The limits in words."""
        lines = [f"{name} at most {cost_text(most)}{self._share(name)}"
                 for name, most in self.limits.items()]  # fmt: skip
        if len(self.shares) > 1:
            lines.append(f"together: {100 * self.within:.0f} % of the space")
        return lines

    def _share(self, name: str) -> str:
        if name in self.shares:
            return f": {100 * self.shares[name]:.0f} % of the space"
        return ", which is measured: a trial over it is not crowned"

    @property
    def warnings(self) -> list[str]:
        """That the limits leave nothing, or hardly anything."""
        if not self.shares or self.within >= _SMALL_SHARE:
            return []
        listed = " and ".join(
            f"{name} at most {cost_text(self.limits[name])} (the least is "
            f"{cost_text(self.cheapest[name])})"
            for name in self.shares
        )
        found = round(self.within * self.drawn)
        if found == 0:
            return [
                f"limits: none of {self.drawn} points drawn from the space has {listed}: the "
                "search would train nothing; raise the limit, or search cheaper models"
            ]
        return [
            f"limits: {found} of {self.drawn} points drawn from the space have {listed}: the "
            "search may train far fewer trials than it is asked for; raise the limit, or search "
            "cheaper models"
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "limits": dict(self.limits),
            "shares": dict(self.shares),
            "within": self.within if self.shares else None,
            "drawn": self.drawn,
        }


def plan_limits(spec: SweepSpec, size: DataSize) -> PlanLimits | None:
    """The share of a space within its limits; None without limits.

    Args:
        spec: The sweep.
        size: Dimensions of its data.
    """
    if not spec.limits:
        return None
    # The others are measured.
    known = {name: most for name, most in spec.limits.items() if not name.startswith(MEASURED)}
    costs = _drawn_costs(spec, size) if known else []
    return PlanLimits(
        spec.limits,
        {name: _share(costs, {name: most}) for name, most in known.items()},
        _share(costs, known),
        {name: min((each[name] for each in costs), default=nan) for name in known},
        len(costs),
    )


def _share(costs: Sequence[Mapping[str, float]], limits: Mapping[str, float]) -> float:
    """Share of points within some limits; all of none."""
    are_within = [all(each[name] <= most for name, most in limits.items()) for each in costs]
    return fmean(are_within) if are_within else 1.0


def _drawn_costs(spec: SweepSpec, size: DataSize) -> list[dict[str, float]]:
    """Costs of models drawn from the space, the same at each call."""
    # Here, as it loads torch.
    from prvr_model.retrieval.costs import known_costs

    found = []
    for point in drawn_points(spec, _DRAWN_POINTS):
        # A point that cannot be trained costs nothing.
        with suppress(SettingsError):
            model = resolve(spec, point).model
            found.append(known_costs(model, size.video_dim, size.text_dim))
    return found
