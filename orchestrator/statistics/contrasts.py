"""What is compared with what in the table of an ablation."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Contrast:
    """What is compared with what."""

    variant: str
    reference: str


def contrasts_of(names: Sequence[str], with_steps: bool) -> tuple[Contrast, ...]:
    """Each variant against the first, and against the step before where steps have a meaning.

    Args:
        names: The baseline, then the variants in order.
        with_steps: Whether each variant adds to the one before, as in a ladder.
    """
    to_baseline = [Contrast(name, names[0]) for name in names[1:]]
    steps = [Contrast(name, before) for before, name in pairwise(names[1:])]
    return tuple(to_baseline + steps * with_steps)
