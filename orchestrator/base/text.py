"""Amounts in words, as messages write them, the first line of a text, and small tables."""

from collections.abc import Mapping, Sequence


def count(number: float, what: str) -> str:
    """A number of things in words, e.g. `2 CPUs`, `0.5 GPU`."""
    return f"{number:g} {what}{'s' if number > 1 or number == 0 else ''}"


def in_words(resources: Mapping[str, float]) -> str:
    """Resources in words, e.g. `2 CPUs, 1 GPU and 1.5 GiB of memory`."""
    texts = [
        f"{gib(amount)} of memory" if name == "memory" else count(amount, name)
        for name, amount in resources.items()
    ]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def first_line(text: str) -> str:
    """The first line of a text that is not blank; empty if every line is blank."""
    return next(iter(text.strip().splitlines()), "")


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of equal width for a terminal: first column left, others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def gib(size_bytes: float) -> str:
    """A size of memory in words, e.g. `1.5 GiB`."""
    return f"{size_bytes / 2**30:.1f} GiB"
