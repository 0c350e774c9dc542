"""Tables that were judged and then got more seeds: looks that nobody planned.

A race plans its looks and gives each a share of the level. Where seeds are added after the table
was seen, the first look has had all of it. So each further look gets half the share of the one
before: over all of them the chance of calling chance real stays below twice the level.
"""

from dataclasses import dataclass

_SHRINKS_BY = 2.0


@dataclass(frozen=True)
class Extension:
    """Looks at a table before the one at hand.

    Args:
        judged: Seeds of a row at each of them, ascending; one or more.
    """

    judged: tuple[int, ...]

    @property
    def share(self) -> float:
        """Share of the level that this look has."""
        return _SHRINKS_BY ** -len(self.judged)

    def chance(self, level: float) -> float:
        """Share of tables without any effect that call something real at one of the looks.

        Args:
            level: Of the first look.
        """
        return level * sum(_SHRINKS_BY**-look for look in range(len(self.judged) + 1))
