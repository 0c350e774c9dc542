"""Filters for MLflow's search that show the runs of one row of an ablation."""

from collections.abc import Iterable

from orchestrator.tracking.tags import SWEEP_TAG, VARIANT_TAG


def variant_filters(sweep: str, variants: Iterable[str]) -> dict[str, str]:
    """A filter for each row by its name.

    The filter also names the sweep: other sweeps on the same data are in the same experiment and
    may have rows of the same name.

    Args:
        sweep: Name of the sweep.
        variants: Names of its rows.
    """
    return {
        name: f"tags.{VARIANT_TAG} {_equal_to(name)} AND tags.`{SWEEP_TAG}` = '{sweep}'"
        for name in dict.fromkeys(variants)
    }


def _equal_to(name: str) -> str:
    if "'" not in name:
        return f"= '{name}'"
    if '"' not in name:
        return f'= "{name}"'
    # MLflow's grammar has no escape: `_`, which stands for any letter, replaces the quote.
    return "LIKE '" + name.replace("'", "_") + "'"
