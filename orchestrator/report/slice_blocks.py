"""The part of a report that says where the winner gains and where it loses."""

from collections.abc import Iterator, Sequence

from orchestrator.base.text import count
from orchestrator.report.candidates import BEST
from orchestrator.report.document import Align, Block, Figure, Heading, Paragraph, Table
from orchestrator.report.drawing import COLOURS, SOFT, drawn, name_rows, new_canvas, styled
from orchestrator.report.formatting import (
    NO_NUMBER,
    display_name,
    interval_text,
    number,
    p_cell,
    p_text,
    signed,
)
from orchestrator.report.slice_findings import BRANCH, FEWEST_VIDEOS, SliceFinding, SliceGain
from orchestrator.report.yardstick import FROZEN
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.wording import clash_notes

_TOO_FEW = f"fewer than {FEWEST_VIDEOS} videos: nothing can be said"
_NUMBERS: list[Align] = ["right"] * 7
_ALIGN: tuple[Align, ...] = ("left", *_NUMBERS, "left")
_PHRASES = {
    "moment-to-video ratio": "moments that take {} of their video",
    "video length": "videos of {}",
    "events of the video": "videos of {} events",
    "captions of the video": "videos of {} captions",
    "words of the query": "queries of {} words",
    "query type": "queries of type {}",
    BRANCH: "the {} branch alone",
}
_COLOURS = {Verdict.REAL: COLOURS[0], Verdict.WORSE: COLOURS[1], Verdict.NOT_SHOWN: SOFT}


def slice_blocks(finding: SliceFinding) -> Iterator[Block]:
    """A sentence in plain words, the table, and the figure."""
    yield Heading("Where the winner gains and where it loses")
    yield Paragraph(slice_answer(finding))
    yield _table(finding)
    if len(finding.judged) > 1:
        yield Figure(_caption(finding), _forest(finding))


def slice_answer(finding: SliceFinding) -> str:
    """Where the winner gains, where it loses, and where nothing is shown, in sentences."""
    metric, winner = display_name(finding.metric), _side(finding.winner)
    if finding.seeds < 2:
        return (
            f"One run of {winner} is held against {_side(finding.baseline)}: the table shows how "
            f"these two differ in {metric}, with intervals for them on new videos. Where the "
            f"configurations differ takes two seeds or more. {finding.why}"
        )
    shown = {
        word: [gain for gain in finding.gains if gain.verdict is verdict]
        for word, verdict in (("gains", Verdict.REAL), ("loses", Verdict.WORSE))
    }
    parts = [f"{word} for {'; '.join(map(_shown, of))}" for word, of in shown.items() if of]
    silent = len(finding.judged) - sum(map(len, shown.values()))
    where = f"in any of {count(silent, 'slice')} of the queries"
    done = " and ".join(parts) or f"is not shown to gain or lose {where}"
    texts = [f"In {metric} against {_side(finding.baseline)}, {winner} {done}."]
    if parts and silent:
        texts.append(f"In the other {count(silent, 'slice')} no difference is shown.")
    if few := len(finding.gains) - len(finding.judged):
        texts.append(f"Of {count(few, 'slice')} with {_TOO_FEW.partition(':')[0]} nothing is said.")
    return " ".join([*texts, finding.why])


def _side(name: str) -> str:
    if name == BEST:
        return "the best configuration"
    return f"the frozen features, by {name.removeprefix(FROZEN)}" if FROZEN in name else name


def _shown(gain: SliceGain) -> str:
    return (
        f"{_words(gain)} ({signed(gain.difference)}, {interval_text(gain.interval)}; "
        f"{p_text(gain.corrected_p)})"
    )


def _words(gain: SliceGain) -> str:
    return _PHRASES.get(gain.kind, f"{gain.kind} {{}}").format(gain.part)


def _table(finding: SliceFinding) -> Table:
    metric = display_name(finding.metric)
    baseline = "frozen" if FROZEN in finding.baseline else finding.baseline
    heads: Sequence[str] = ("slice", "queries", "videos", finding.winner, baseline, "difference",
             "95 % interval", "corrected p", "verdict")  # fmt: skip
    rows = [_row(finding.overall), *map(_row, finding.gains)]
    # The whole is judged in the table of differences, and none of the slices.
    rows[0][-2:] = [NO_NUMBER, NO_NUMBER]
    if finding.seeds < 2:
        heads, rows = heads[:-2], [row[:-2] for row in rows]
    caption = f"{metric} on validation by slices of the queries, {_pairing(finding)}"
    return Table(caption, heads, rows, align=_ALIGN[: len(heads)], notes=_notes(finding))


def _row(gain: SliceGain) -> list[str]:
    return [
        f"{gain.kind}: {gain.part}".removesuffix(": "),
        str(gain.queries),
        str(gain.videos),
        *(number(mean) for mean in gain.means),
        signed(gain.difference),
        interval_text(gain.interval),
        p_cell(gain.corrected_p),
        _verdict(gain),
    ]


def _verdict(gain: SliceGain) -> str:
    if not gain.is_judged:
        return _TOO_FEW
    return gain.verdict.value


def _pairing(finding: SliceFinding) -> str:
    if finding.seeds < 2:
        return "one pair of runs, paired by query"
    return f"{finding.seeds} pairs of runs, paired by seed and query"


def _notes(finding: SliceFinding) -> list[str]:
    if finding.seeds < 2:
        notes = ["Intervals are each slice's own, for these models on new videos; no verdicts."]
        return [note for note in (*notes, finding.without_branches) if note]
    choice = (
        f" and over the {finding.chosen_from} configurations among which the winner was chosen"
        if finding.chosen_from > 1
        else ""
    )
    notes = [
        "Intervals are each slice's own, for new seeds and new videos. p is corrected over the "
        f"{count(len(finding.judged), 'slice')} that can be judged (Holm){choice}. Not shown does "
        "not mean that there is no difference.",
        *clash_notes(finding.judged),
        finding.without_branches,
    ]
    return [note for note in notes if note]


def _caption(finding: SliceFinding) -> str:
    return (
        f"Difference of {display_name(finding.metric)} in every slice that can be judged, "
        f"{_side(finding.winner)} against {_side(finding.baseline)}: the mean and its 95 % "
        "interval; coloured and filled where the table shows a difference to be real. Dotted: all "
        "queries."
    )


def _forest(finding: SliceFinding) -> str:
    """Difference and interval of each slice, row below row."""
    gains: Sequence[SliceGain] = finding.judged
    with styled():
        canvas = new_canvas(0.9 + 0.34 * len(gains))
        axes = canvas.add_subplot()
        for k, gain in enumerate(gains):
            colour = _COLOURS[gain.verdict]
            if gain.interval is not None:
                ends = [gain.interval.low, gain.interval.high]
                axes.plot(ends, [k, k], color=colour, linewidth=2)
            fill = "white" if gain.verdict is Verdict.NOT_SHOWN else colour
            axes.plot([gain.difference], [k], "o", color=colour, markerfacecolor=fill)
        axes.axvline(0, color=SOFT, linewidth=1)
        axes.axvline(finding.overall.difference, color=SOFT, linewidth=1, linestyle=":")
        name_rows(axes, [f"{gain.kind}: {gain.part}" for gain in gains])
        axes.set_xlabel(f"difference of {display_name(finding.metric)}")
        return drawn(canvas)
