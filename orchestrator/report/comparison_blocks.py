"""The part of a report that compares two sweeps."""

from collections.abc import Iterator

from orchestrator.report.document import Align, Block, Heading, Paragraph, Table
from orchestrator.report.formatting import (
    interval_text,
    labelled,
    number,
    p_cell,
    p_text,
    signed,
)
from orchestrator.report.sweep_comparison import ComparedSweeps, SweepComparison
from orchestrator.report.sweep_pairing import Pairing
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.wording import clash_notes

_HOLDS_FOR = {
    Pairing.SEEDS_AND_VIDEOS: "new seeds and new videos",
    Pairing.VIDEOS: "new seeds and new videos",
    Pairing.NOTHING: "new seeds and new videos of either split, which differ: what one split makes "
    "easier is part of the difference",
    Pairing.SEEDS: "new seeds on these same videos only",
    Pairing.VALUES: "new seeds on these same videos only",
}


def comparison_blocks(compared: ComparedSweeps) -> Iterator[Block]:
    """All blocks, in reading order; this sweep's own protocol is labelled with its other tables."""
    there_alone = compared.under_paper == (compared.there,)
    label = f"protocol paper: {compared.there} was selected on this split" if there_alone else ""
    return labelled(_blocks(compared), label)


def _blocks(compared: ComparedSweeps) -> Iterator[Block]:
    yield Heading(f"Against sweep {compared.there}")
    yield Paragraph(comparison_answer(compared))
    for problem in compared.problems:
        yield Paragraph(problem, is_warning=True)
    if compared.comparisons:
        yield _differences(compared)
    yield from _settings(compared)
    if compared.differing:
        rows = [list(difference) for difference in compared.differing]
        heads = ("what", compared.here, compared.there)
        yield Table("What else differs", heads, rows, align=("left", "left", "left"))


def comparison_answer(compared: ComparedSweeps) -> str:
    """What the comparison shows, in a sentence or two."""
    if not compared.comparisons:
        return f"Nothing of {compared.here} can be compared with {compared.there}."
    shown = [pair for pair in compared.comparisons if pair.verdict is not Verdict.NOT_SHOWN]
    if not shown:
        return f"No difference of {compared.metric} between the two sweeps is shown to be real."
    texts = [
        f"{pair.name} is {'better' if pair.verdict is Verdict.REAL else 'worse'} here by "
        f"{number(abs(pair.difference))} ({interval_text(pair.interval)}; "
        f"{p_text(pair.corrected_p)})"
        for pair in shown
    ]
    rest = len(compared.comparisons) - len(shown)
    answer = f"Real, in {compared.metric}: {'; '.join(texts)}."
    return f"{answer} Not shown: {rest} more." if rest else answer


def _differences(compared: ComparedSweeps) -> Table:
    rows = [
        [
            pair.name if pair.name == pair.other else f"{pair.name} / {pair.other}",
            _seeds(pair),
            number(pair.means[0]),
            number(pair.means[1]),
            signed(pair.difference),
            interval_text(pair.interval),
            p_cell(pair.corrected_p),
            str(pair.verdict),
            str(pair.pairing),
        ]
        for pair in compared.comparisons
    ]
    heads = ("what", "seeds", compared.here, compared.there, "difference", "95 % interval",
             "corrected p", "verdict", "how")  # fmt: skip
    numbers: list[Align] = ["right"] * 6
    align: tuple[Align, ...] = ("left", *numbers, "left", "left")
    notes = _notes(compared)
    return Table(f"{compared.metric} of both sweeps", heads, rows, align=align, notes=notes)


def _seeds(pair: SweepComparison) -> str:
    here, there = pair.seeds
    return str(len(here)) if here == there else f"{len(here)} and {len(there)}"


def _notes(compared: ComparedSweeps) -> list[str]:
    notes = [
        f"Intervals of rows {pairing} hold for {_HOLDS_FOR[pairing]}."
        for pairing in dict.fromkeys(pair.pairing for pair in compared.comparisons)
    ]
    notes += clash_notes(compared.comparisons)
    for pair in compared.comparisons:
        notes += [f"{pair.name}: {text}." for text in _notes_of(pair)]
    for sweep, names in zip((compared.here, compared.there), compared.unmatched, strict=True):
        notes += [f"Only in {sweep}: {', '.join(names)}."] * bool(names)
    return notes


def _notes_of(pair: SweepComparison) -> Iterator[str]:
    yield from pair.remarks
    if pair.left_out:
        yield f"seeds that only one side has are left out: {', '.join(map(str, pair.left_out))}"
    if pair.same_trials:
        yield f"{pair.same_trials} runs have the same key in both sweeps: one result, not two"
    if pair.p_value is None:
        yield "an interval needs two seeds on both sides, two videos, and runs that differ"
    if len(pair.differing) > 1:
        yield (
            f"the two differ in {len(pair.differing)} settings: a difference belongs to all of "
            "them together"
        )


def _settings(compared: ComparedSweeps) -> Iterator[Block]:
    rows = [
        [setting, pair.name, here, there]
        for pair in compared.comparisons
        for setting, here, there in pair.differing
    ]
    if rows:
        heads = ("setting", "of", compared.here, compared.there)
        yield Table("Settings that differ", heads, rows, align=("left",) * 4)
