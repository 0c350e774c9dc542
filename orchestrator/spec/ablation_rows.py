"""The rows of an ablation's table: what each one changes in the settings of the sweep."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.ablation import Ablation, Overrides
from orchestrator.spec.problems import shown


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        name: Its name.
        overrides: What it changes in the sweep's settings, the baseline's changes included.
        place: Where in the section it is written.
    """

    name: str
    overrides: Overrides
    place: tuple[str, ...]


def ablation_rows(ablation: Ablation, base_values: Mapping[str, Any]) -> tuple[Row, ...]:
    """The baseline, then the variants in order.

    Args:
        ablation: The section.
        base_values: Value of each factor in the baseline; the combination that has all of them is
            the baseline itself, no row of its own.
    """
    base = Row(ablation.baseline.name, dict(ablation.baseline.overrides), ("baseline",))
    if ablation.design == "grid":
        return (base, *_combinations(ablation, base, base_values))
    return (base, *_variants(ablation, base))


def _variants(ablation: Ablation, base: Row) -> Iterator[Row]:
    """Each variant upon the baseline, in a ladder upon those before it."""
    below = base.overrides
    for name, overrides in ablation.variants.items():
        changed = {**below, **overrides}
        yield Row(name, changed, ("variants", name))
        if ablation.design == "ladder":
            below = changed


def _combinations(ablation: Ablation, base: Row, base_values: Mapping[str, Any]) -> Iterator[Row]:
    """Every combination of the factors' levels upon the baseline, the last one varying fastest."""
    paths = tuple(ablation.factors)
    for levels in itertools.product(*ablation.factors.values()):
        overrides = dict(zip(paths, levels, strict=True))
        if overrides == {path: base_values[path] for path in paths}:
            continue
        yield Row(_combined_name(overrides), {**base.overrides, **overrides}, ("factors",))


def _combined_name(overrides: Overrides) -> str:
    return " ".join(
        f"{path.rpartition('.')[2]}={value if isinstance(value, str) else shown(value)}"
        for path, value in overrides.items()
    )
