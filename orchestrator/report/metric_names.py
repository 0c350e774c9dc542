"""Metrics as a table calls them, and which of them can be compared."""

from orchestrator.statistics.outcomes import depths_of


def display_name(metric: str) -> str:
    """`val/R5` as `R@5`, `val/clip/SumR` as `clip SumR`."""
    *branch, name = metric.split("/")[1:]
    is_recall = name.startswith("R") and name[1:].isdigit()
    return " ".join([*branch, f"R@{name[1:]}" if is_recall else name])


def not_compared(metric: str) -> str:
    """Why differences of a metric are in no table; empty: they can be."""
    if depths_of(metric) is not None:
        return ""
    return (
        "Differences are computed for metrics of the fused scores only, whose ranks are kept: "
        f"{display_name(metric)} has means here, without intervals and verdicts."
    )
