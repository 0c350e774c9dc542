"""Races: which variants get more seeds, and what looking several times costs.

A table that is looked at after each round of seeds, and grows where it is undecided, has several
chances to call chance real. So the looks are planned before the first seed, and each has its share
of the level; the shares sum to one, whatever makes a variant stop. Late looks have most of it:
early ones are there to drop what is clearly beaten.

A table that was judged and then got more seeds had looks that were not planned (`Extension`). Its
first look has had all of the level. So each further look gets half the share of the one before:
over all of them the chance of calling chance real stays below twice the level.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.base.errors import StatisticsError

# Between two looks the seeds grow by this factor: looks closer together tell little that is new
# and take from the level of the last.
_GROWTH = 1.4
# The level spent up to a look is its share of the seeds to this power (Kim and DeMets 1987): a
# compromise between dropping early and keeping the level for the end.
_SPENDING_POWER = 2
# Each look that was not planned has the share of the one before, divided by this.
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

        A variant between two looks is judged by the later, as when a sweep was interrupted.

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
        beaten: Variants whose interval of the difference to the best leaves 0 out, below.
        open_references: References that a variant which is not beaten is compared with, the
            difference not being shown yet.
    """

    asked: Mapping[str, int]
    beaten: frozenset[str]
    open_references: frozenset[str]


def best_of(asked: Mapping[str, int], means: Mapping[str, float]) -> str | None:
    """The variant with the highest mean among those with the most seeds; None if none finished.

    A variant that was dropped after a few lucky seeds is not held against those that went on.
    """
    finished = [name for name in asked if not math.isnan(means[name])]
    most = max((asked[name] for name in finished), default=0)
    running = [name for name in finished if asked[name] == most]
    return max(running, key=lambda name: means[name], default=None)


def next_seeds(race: Race, standing: Standing) -> dict[str, int]:
    """Seeds that variants are to have at the next look, for those that get more.

    A variant goes on while its interval overlaps the best. A reference goes on with those that are
    compared with it as long as one of these differences is open, as seeds are paired. A race ends
    when a single variant is left that nothing is open about, or all have the maximum.
    """
    contenders = set(standing.asked) - standing.beaten
    if len(contenders) < 2 and not standing.open_references:
        return {}
    going_on = contenders | standing.open_references
    # Those behind, taken up again, come to the same look as the others.
    target = race.next_look(max(standing.asked[name] for name in going_on))
    behind = (name for name in standing.asked if standing.asked[name] < target)
    return {name: target for name in behind if name in going_on}


@dataclass(frozen=True)
class Extension:
    """The looks before this one, at a table that got more seeds after it was judged.

    Args:
        judged: Seeds of a row at each of the looks before, ascending; one or more.
    """

    judged: tuple[int, ...]

    @property
    def share(self) -> float:
        """Share of the level that this look has."""
        return _SHRINKS_BY ** -len(self.judged)

    def chance(self, level: float) -> float:
        """Share of tables without any effect that call something real at any look so far.

        Args:
            level: Of the first look.
        """
        return level * sum(_SHRINKS_BY**-look for look in range(len(self.judged) + 1))
