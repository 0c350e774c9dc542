"""A report as blocks of text, tables and figures, and how each format writes them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Align: TypeAlias = Literal["left", "right"]

# A column with longer texts would push the others out of sight, so its texts wrap.
_LONG_TEXT = 45


@dataclass(frozen=True)
class Heading:
    """Begins a part of the report."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences; `is_lead` marks the answer, which is shown before all others."""

    text: str
    is_lead: bool = False
    is_warning: bool = False


@dataclass(frozen=True)
class Listing:
    """Text as it was written: a command, a traceback, a YAML."""

    text: str


@dataclass(frozen=True)
class Table:
    """Columns of text.

    Args:
        caption: What it shows.
        columns: Heads of the columns.
        rows: Cells, a row each.
        align: Alignment of each column; by default the first left, the others right.
        notes: Sentences below the table.
        keys: What each row is about, see `marks`; empty for none. By it the page finds its marks.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: Sequence[Align] = ()
    notes: Sequence[str] = ()
    keys: Sequence[str] = ()

    @property
    def alignment(self) -> tuple[Align, ...]:
        """Alignment of every column."""
        others: list[Align] = ["right"] * (len(self.columns) - 1)
        return tuple(self.align) or ("left", *others)

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Whether each column holds long texts, which wrap."""
        longest = [max(map(len, cells), default=0) for cells in zip(*self.rows, strict=True)]
        longest = longest or [0] * len(self.columns)
        return tuple(
            side == "left" and length > _LONG_TEXT
            for side, length in zip(self.alignment, longest, strict=True)
        )


@dataclass(frozen=True)
class Figure:
    """A plot, as SVG whose marks have keys (see `marks`), and what it shows in words."""

    caption: str
    svg: str


Block: TypeAlias = Heading | Paragraph | Listing | Table | Figure


@dataclass(frozen=True)
class Document:
    """A report in reading order.

    Args:
        title: Its title.
        subtitle: What stands below that.
        blocks: Its parts.
        details: A few lines of text about each key of tables and figures; the first is its name.
    """

    title: str
    subtitle: str
    blocks: tuple[Block, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


class Writer(ABC):
    """Writes the blocks of a report in one format."""

    def write(self, block: Block) -> str:
        """A block as text of the format; empty if the format does not show it."""
        match block:
            case Heading():
                return self.heading(block.text)
            case Paragraph():
                return self.paragraph(block)
            case Listing():
                return self.listing(block.text)
            case Table():
                return self.table(block)
            case Figure():
                return self.figure(block)

    @abstractmethod
    def heading(self, text: str) -> str:
        """The heading of a part."""

    @abstractmethod
    def paragraph(self, paragraph: Paragraph) -> str:
        """Sentences."""

    @abstractmethod
    def listing(self, text: str) -> str:
        """Text whose lines stay as they are."""

    @abstractmethod
    def table(self, table: Table) -> str:
        """A table with its caption and notes."""

    @abstractmethod
    def figure(self, figure: Figure) -> str:
        """A plot; in a format without plots its caption, or nothing."""
