"""The part of a report that shows single queries, so that a reader sees what changed."""

from collections.abc import Iterator, Sequence

from orchestrator.report.document import Align, Block, Heading, Paragraph, Table
from orchestrator.report.examples import Example, Examples
from orchestrator.report.formatting import NO_NUMBER, number, shortened

# A report that is read in a terminal, or sent, shows this many queries of each group.
_FEW = 3
_LONGEST_BRIEF = 72
# Means of whole ranks are shown as such up to here.
_ROUNDING = 0.05


def example_blocks(examples: Examples, *, in_full: bool) -> Iterator[Block]:
    """Tables of queries: gained, lost, best, worst.

    Args:
        examples: The queries.
        in_full: Whether all of them are shown, with their captions as they are.
    """
    yield Heading("Single queries")
    yield Paragraph(_intro(examples))
    winner, other = examples.winner, examples.other
    groups = {
        f"Most ahead: where {winner} ranks the right video highest above {other}": examples.gained,
        f"Most behind: where {winner} ranks it lowest below {other}": examples.lost,
        f"Best: what {winner} ranks highest, and of these {examples.ties}": examples.best,
        f"Worst: what {winner} ranks lowest": examples.worst,
    }
    for caption, queries in groups.items():
        if queries:
            yield _table(caption, queries, examples, in_full=in_full)


def _intro(examples: Examples) -> str:
    num_seeds = len(examples.seeds)
    ranks = "Ranks on validation of each query's best right video, 1 is first"
    if num_seeds > 1:
        listed = ", ".join(map(str, examples.seeds))
        ranks += f", as geometric means over {num_seeds} seeds ({listed})"
    held = f" {examples.why} Ahead and behind are by the ratio of ranks." if examples.other else ""
    return f"{ranks}; a table has at most one query of a video.{held}"


def _table(caption: str, queries: Sequence[Example], examples: Examples, *, in_full: bool) -> Table:
    shown = queries if in_full else queries[:_FEW]
    has_moments = any(query.moment_s for query in queries)
    heads = ["query", "right video", *["moment"] * has_moments, f"rank by {examples.winner}"]
    heads += [f"by {examples.other}"] * bool(examples.other)
    texts: list[Align] = ["left"] * (2 + has_moments)
    numbers: list[Align] = ["right"] * (len(heads) - len(texts))
    rows = [
        [
            query.caption if in_full else shortened(query.caption, _LONGEST_BRIEF),
            query.video,
            *[_moment(query)] * has_moments,
            _rank(query.rank),
            *[_rank(query.other_rank)] * bool(examples.other),
        ]
        for query in shown
    ]
    more = len(queries) - len(shown)
    notes = [f"And {more} more in the HTML report."] if more else []
    return Table(caption, heads, rows, align=(*texts, *numbers), notes=notes)


def _moment(query: Example) -> str:
    if query.moment_s is None:
        return NO_NUMBER
    start, end = query.moment_s
    of = "" if query.duration_s is None else f" of {number(query.duration_s)}"
    return f"{number(start)} to {number(end)}{of} s"


def _rank(rank: float | None) -> str:
    """A whole rank as such, a mean with one digit."""
    if rank is None:
        return NO_NUMBER
    return f"{rank:,.0f}" if abs(rank - round(rank)) < _ROUNDING else f"{rank:,.1f}"
