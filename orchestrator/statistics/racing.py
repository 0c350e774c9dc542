"""Races: which variants get more seeds, and what looking several times costs.

A table that is looked at after each round of seeds, and grows while it is undecided, has several
chances to call chance real. So the looks are planned before the first seed, and each has its share
of the level; the shares sum to one, whatever stops a variant. Late looks have most of the level:
early looks only drop variants that are clearly beaten.

A table that got more seeds after it was judged had unplanned looks (`Extension`). Its first look
spent the whole level. So each further look gets half the share of the previous one: over all looks
the chance of calling chance real stays below twice the level.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.base.errors import StatisticsError

# Between two looks the seeds grow by this factor: looks closer together add little and reduce the
# level of the last look.
_GROWTH = 1.4
# The level spent up to a look is its share of the seeds to this power (Kim and DeMets 1987): a
# compromise between dropping early and keeping the level for the end.
_SPENDING_POWER = 2
# Each unplanned look has the share of the previous look, divided by this.
_SHRINKS_BY = 2.0


@dataclass(frozen=True)
class Race:
    """The plan of a race.

    Args:
        looks: Seeds of a variant at each look, ascending; the last is the maximum.
    """

    looks: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.looks or self.looks[0] < 1 or list(self.looks) != sorted(set(self.looks)):
            raise StatisticsError(
                f"looks of a race are {self.looks}; they must be seed counts that grow"
            )

    @classmethod
    def planned(cls, start: int, maximum: int) -> "Race":
        """Looks from `start` seeds to `maximum`, further apart as they grow.

        Raises:
            StatisticsError: There is no seed to start with, or the maximum is below the start.
        """
        if not 1 <= start <= maximum:
            raise StatisticsError(
                f"a race from {start} to at most {maximum} seeds; it needs 1 seed or more, and a "
                "maximum that is not smaller"
            )
        looks = [start]
        while looks[-1] < maximum:
            looks.append(min(maximum, max(looks[-1] + 1, round(looks[-1] * _GROWTH))))
        return cls(tuple(looks))

    @property
    def maximum(self) -> int:
        """Most seeds that a variant gets."""
        return self.looks[-1]

    def share(self, asked: int) -> float:
        """Share of the level that belongs to a variant's look with `asked` seeds.

        A variant between two looks, e.g. after an interruption, has the share of the later one.

        Raises:
            StatisticsError: More seeds than the plan has.
        """
        if asked > self.maximum:
            raise StatisticsError(
                f"a variant has {asked} seeds, the race was planned for at most {self.maximum}; "
                "seeds beyond the plan cannot be judged with its error"
            )
        k = next(k for k, look in enumerate(self.looks) if look >= asked)
        before = self.looks[k - 1] if k else 0
        return self._spent(self.looks[k]) - self._spent(before)

    def _spent(self, seeds: int) -> float:
        return math.pow(seeds / self.maximum, _SPENDING_POWER)

    def next_look(self, asked: int) -> int:
        """Seeds at the look after one with `asked` seeds; the maximum after the last."""
        return next((look for look in self.looks if look > asked), self.maximum)


@dataclass(frozen=True)
class Standing:
    """What a race knows of its variants.

    Args:
        asked: Seeds that each variant was given so far, failed ones included.
        beaten: Variants whose interval of the difference to the best lies below 0.
        open_references: References of open comparisons: the variant is not beaten and its
            difference is not shown yet.
    """

    asked: Mapping[str, int]
    beaten: frozenset[str]
    open_references: frozenset[str]


def best_of(asked: Mapping[str, int], means: Mapping[str, float]) -> str | None:
    """The variant with the highest mean among those with the most seeds; None if none finished.

    A variant that was dropped early is never the best, however lucky its few seeds.
    """
    finished = [name for name in asked if not math.isnan(means[name])]
    most = max((asked[name] for name in finished), default=0)
    running = [name for name in finished if asked[name] == most]
    return max(running, key=lambda name: means[name], default=None)


def next_seeds(race: Race, standing: Standing) -> dict[str, int]:
    """Seeds that variants are to have at the next look, for those that get more.

    A variant continues while its interval overlaps the best. A reference continues while a
    difference to it is open, since seeds are paired. The race ends when a single variant is left
    and no difference is open, or when all have the maximum.
    """
    contenders = set(standing.asked) - standing.beaten
    if len(contenders) < 2 and not standing.open_references:
        return {}
    going_on = contenders | standing.open_references
    # Variants that had stopped and continue are brought to the same look as the others.
    target = race.next_look(max(standing.asked[name] for name in going_on))
    behind = (name for name in standing.asked if standing.asked[name] < target)
    return {name: target for name in behind if name in going_on}


@dataclass(frozen=True)
class Extension:
    """The earlier looks at a table that got more seeds after it was judged.

    Args:
        judged: Seeds of a row at each of the earlier looks, ascending; one or more.
    """

    judged: tuple[int, ...]

    @property
    def share(self) -> float:
        """Share of the level that this look has."""
        return _SHRINKS_BY ** -len(self.judged)

    def chance(self, level: float) -> float:
        """Share of tables without any effect that call a difference real at any look so far.

        Args:
            level: Level of the first look.
        """
        return level * sum(_SHRINKS_BY**-look for look in range(len(self.judged) + 1))
