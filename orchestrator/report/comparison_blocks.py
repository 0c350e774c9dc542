"""Two sweeps against each other as a part of a report, and as JSON values."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from orchestrator.report.document import Align, Block, Heading, Paragraph, Table
from orchestrator.report.formatting import (
    display_name,
    interval_text,
    labelled,
    number,
    p_text,
    signed,
)
from orchestrator.report.sweep_comparison import ComparedSweeps, Pairing, SweepComparison
from orchestrator.statistics.comparison import EFFECT_SIZE, Comparison, Verdict
from orchestrator.statistics.racing import Extension
from orchestrator.statistics.table import ComparisonTable
from orchestrator.statistics.wording import clash_notes, verdict_text

_SPEAKS_OF = {
    Pairing.SEEDS_AND_VIDEOS: "new seeds and new videos",
    Pairing.VIDEOS: "new seeds and new videos",
    Pairing.NOTHING: "new seeds and new videos of either split, which differ: what one split makes "
    "easier is part of the difference",
    Pairing.SEEDS: "new seeds on these same videos only",
    Pairing.VALUES: "new seeds on these same videos only",
}


def comparison_blocks(found: ComparedSweeps) -> Iterator[Block]:
    """All of it, in reading order; this sweep's own protocol is labelled with its other tables."""
    there_alone = found.under_paper == (found.there,)
    label = f"protocol paper: {found.there} was selected on this split" if there_alone else ""
    return labelled(_blocks(found), label)


def _blocks(found: ComparedSweeps) -> Iterator[Block]:
    yield Heading(f"Against sweep {found.there}")
    yield Paragraph(comparison_answer(found))
    for problem in found.problems:
        yield Paragraph(problem, is_warning=True)
    if found.comparisons:
        yield _differences(found)
    yield from _settings(found)
    if found.differing:
        rows = [list(one) for one in found.differing]
        heads = ("what", found.here, found.there)
        yield Table("Used otherwise", heads, rows, align=("left", "left", "left"))


def comparison_answer(found: ComparedSweeps) -> str:
    """What the comparison shows, in a sentence or two."""
    if not found.comparisons:
        return f"Nothing of {found.here} can be compared with {found.there}."
    shown = [one for one in found.comparisons if one.verdict is not Verdict.NOT_SHOWN]
    if not shown:
        return f"No difference of {found.metric} between the two sweeps is shown to be real."
    texts = [
        f"{one.name} is {'better' if one.verdict is Verdict.REAL else 'worse'} here by "
        f"{number(abs(one.difference))} ({interval_text(one.interval)}; {p_text(one.corrected_p)})"
        for one in shown
    ]
    rest = len(found.comparisons) - len(shown)
    return f"Real, in {found.metric}: {'; '.join(texts)}." + f" Not shown: {rest} more." * bool(
        rest
    )


def _differences(found: ComparedSweeps) -> Table:
    rows = [
        [
            one.name if one.name == one.other else f"{one.name} / {one.other}",
            _seeds(one),
            number(one.means[0]),
            number(one.means[1]),
            signed(one.difference),
            interval_text(one.interval),
            p_text(one.corrected_p).removeprefix("p = ").removeprefix("p "),
            str(one.verdict),
            str(one.pairing),
        ]
        for one in found.comparisons
    ]
    heads = ("what", "seeds", found.here, found.there, "difference", "95 % interval", "corrected p",
             "verdict", "how")  # fmt: skip
    numbers: list[Align] = ["right"] * 6
    align: tuple[Align, ...] = ("left", *numbers, "left", "left")
    return Table(f"{found.metric} of both sweeps", heads, rows, align=align, notes=_notes(found))


def _seeds(one: SweepComparison) -> str:
    here, there = map(len, one.seeds)
    return str(here) if one.seeds[0] == one.seeds[1] else f"{here} and {there}"


def _notes(found: ComparedSweeps) -> list[str]:
    notes = [
        f"Intervals of rows {pairing} speak of {_SPEAKS_OF[pairing]}."
        for pairing in dict.fromkeys(one.pairing for one in found.comparisons)
    ]
    notes += clash_notes(found.comparisons)
    for one in found.comparisons:
        notes += [f"{one.name}: {text}." for text in _texts(one)]
    for sweep, names in zip((found.here, found.there), found.unmatched, strict=True):
        notes += [f"Only in {sweep}: {', '.join(names)}."] * bool(names)
    return notes


def _texts(one: SweepComparison) -> Iterator[str]:
    yield from one.remarks
    if one.left_out:
        yield f"seeds that only one side has count for nothing: {', '.join(map(str, one.left_out))}"
    if one.same_trials:
        yield f"{one.same_trials} runs have the same key in both sweeps: one result, not two"
    if one.p_value is None:
        yield "no interval without two seeds on either side, two videos, and any variation"
    if len(one.differing) > 1:
        yield (
            f"the two differ in {len(one.differing)} settings: a difference belongs to all of them "
            "together"
        )


def _settings(found: ComparedSweeps) -> Iterator[Block]:
    rows = [
        [setting, one.name, here, there]
        for one in found.comparisons
        for setting, here, there in one.differing
    ]
    if rows:
        heads = ("setting", "of", found.here, found.there)
        yield Table("Settings that differ", heads, rows, align=("left",) * 4)


def comparison_numbers(found: ComparedSweeps) -> dict[str, Any]:
    """Everything of it as JSON values."""
    values = asdict(found)
    values["answer"] = comparison_answer(found)
    for one in values["comparisons"]:
        one["means"] = [value if isfinite(value) else None for value in one["means"]]
        one["difference"] = one["difference"] if isfinite(one["difference"]) else None
        one["verdict"], one["pairing"] = str(one["verdict"]), str(one["pairing"])
        interval = one["interval"]
        one["interval"] = None if interval is None else [interval["low"], interval["high"]]
    return values


# The comparisons of an ablation: paired differences, their intervals and verdicts.


def difference_table(table: ComparisonTable, metric: str) -> Table:
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
        notes=_table_notes(table),
    )


def _table_notes(table: ComparisonTable) -> list[str]:
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
