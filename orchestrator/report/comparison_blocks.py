"""Two sweeps against each other as a part of a report, and as JSON values."""

from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any

from orchestrator.report.document import Align, Block, Heading, Paragraph, Table
from orchestrator.report.formatting import interval_text, number, p_text, signed
from orchestrator.report.protocol import labelled
from orchestrator.report.sweep_comparison import ComparedSweeps, Pairing, SweepComparison
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.wording import clash_notes

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
