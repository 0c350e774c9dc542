"""Columns of a LaTeX table that fit the width of the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.document import Table

# Sizes of letters, the largest first: mean width of a letter, and how many fit across the page of
# the preamble.
_SIZES = {"footnotesize": (1.6, 163), "scriptsize": (1.4, 186), "tiny": (1.1, 237)}
# Gap between two columns, and least width of a column of texts, in letters.
_GAP = 2
_NARROWEST = 25
# Where a name may be broken: after a slash by the writer, after a hyphen by LaTeX itself.
_PIECES = re.compile(r"[^\s/-]+[/-]?")


@dataclass(frozen=True)
class Fit:
    """A size of letters in which a table fits, and LaTeX's types of its columns."""

    size: str
    columns: str


def fitted(table: Table) -> Fit:
    """The largest size in which the table fits, else the smallest.

    Where it is too wide, heads of numbers wrap first, then texts, the longest first.
    """
    columns = [_Column.of(table, place) for place in range(len(table.columns))]
    gaps = _GAP * (len(columns) - 1)
    size = next(
        (
            name
            for name, (_, letters) in _SIZES.items()
            if _total(columns, _wrapped(columns, letters - gaps)) <= letters - gaps
        ),
        list(_SIZES)[-1],
    )
    letter_mm, letters = _SIZES[size]
    widths = _widths(columns, _wrapped(columns, letters - gaps), letters - gaps)
    types = zip(columns, widths, strict=True)
    return Fit(size, "".join(_type(column.side, width, letter_mm) for column, width in types))


@dataclass(frozen=True)
class _Column:
    """A column: its side, whether its texts are long, and widths in letters."""

    side: str
    is_long: bool
    length: int
    narrowest: int

    @classmethod
    def of(cls, table: Table, place: int) -> "_Column":
        head, *cells = (row[place] for row in (table.columns, *table.rows))
        side, longest = table.alignment[place], max(map(len, cells), default=0)
        pieces = max(map(len, _PIECES.findall(head)), default=0)
        length = max(len(head), longest)
        narrowest = _NARROWEST if side == "left" else max(longest, pieces)
        return cls(side, table.wraps[place], length, min(length, narrowest))


def _wrapped(columns: Sequence[_Column], room: int) -> set[int]:
    """Places of the columns that wrap: those of long texts, and as many more as it takes."""
    wrapped = {place for place, column in enumerate(columns) if column.is_long}
    others = sorted(
        set(range(len(columns))) - wrapped,
        key=lambda place: (columns[place].side == "left", -columns[place].length),
    )
    for place in others:
        if _total(columns, wrapped) <= room:
            break
        wrapped.add(place)
    return wrapped


def _total(columns: Sequence[_Column], wrapped: set[int]) -> int:
    return sum(
        column.narrowest if place in wrapped else column.length
        for place, column in enumerate(columns)
    )


def _widths(columns: Sequence[_Column], wrapped: set[int], room: int) -> list[int | None]:
    """Width of each column that wraps: its least one, and a share of what is left of the page."""
    share = max(0, room - _total(columns, wrapped)) // max(1, len(wrapped))
    return [
        min(column.length, column.narrowest + share) if place in wrapped else None
        for place, column in enumerate(columns)
    ]


def _type(side: str, width: int | None, letter_mm: float) -> str:
    if width is None:
        return side[0]
    ragged = r"\raggedright" if side == "left" else r"\raggedleft"
    return rf">{{{ragged}\arraybackslash}}p{{{round(letter_mm * width)}mm}}"
