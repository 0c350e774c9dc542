"""The comparisons of an ablation: paired differences, their intervals and verdicts."""

from collections.abc import Sequence

from orchestrator.report.document import Table
from orchestrator.report.formatting import interval_text, number, p_text, signed
from orchestrator.report.metric_names import display_name
from orchestrator.statistics.comparison import EFFECT_SIZE, Comparison
from orchestrator.statistics.extension import Extension
from orchestrator.statistics.table import Table as Statistics
from orchestrator.statistics.wording import clash_notes, verdict_text


def difference_table(table: Statistics, metric: str) -> Table:
    """Every comparison, a row each.

    Args:
        table: The comparisons.
        metric: The objective, whose differences they are.
    """
    rows = [
        [
            one.contrast.variant,
            one.contrast.reference,
            str(len(one.seeds)),
            signed(one.difference),
            interval_text(one.interval),
            p_text(one.corrected_p).removeprefix("p = ").removeprefix("p "),
            number(one.effect_size, 2),
            verdict_text(one),
        ]
        for one in table.comparisons
    ]
    return Table(
        f"Differences of {display_name(metric)}, paired by seed and video",
        (
            "row",
            "against",
            "seeds",
            "difference",
            "95 % interval",
            "corrected p",
            "effect size",
            "verdict",
        ),
        rows,
        align=("left", "left", "right", "right", "right", "right", "right", "left"),
        notes=_notes(table),
    )


def _notes(table: Statistics) -> list[str]:
    notes = [
        f"At most {table.level:.0%} of tables without any effect call something real: p is "
        "corrected over all comparisons (Holm), intervals are each comparison's own. Effect size: "
        f"{EFFECT_SIZE}.",
        *clash_notes(table.comparisons),
    ]
    if table.race is not None:
        looks = ", ".join(map(str, table.race.looks))
        notes.append(f"Seeds were raced: looks at {looks} seeds, each with its share of the level.")
    if table.extension is not None:
        notes.append(_extended(table.extension, table.level))
    notes += _left_out(table.comparisons)
    return notes


def _extended(extension: Extension, level: float) -> str:
    """That seeds were added to a table that had been judged, which is not for nothing."""
    judged = " and ".join(map(str, extension.judged))
    return (
        f"Seeds were added after the table had been judged at {judged}: p is counted "
        f"{1 / extension.share:g} times, and over all looks at most {extension.chance(level):.1%} "
        "of tables without any effect call something real. A race, or as many seeds from the "
        f"start, keeps to {level:.0%}."
    )


def _left_out(comparisons: Sequence[Comparison]) -> list[str]:
    texts = [
        f"{one.contrast.variant} against {one.contrast.reference}: seeds "
        f"{', '.join(map(str, one.left_out))}"
        for one in comparisons
        if one.left_out
    ]
    return [f"Seeds that only one side finished count for nothing: {'; '.join(texts)}."] * bool(
        texts
    )
