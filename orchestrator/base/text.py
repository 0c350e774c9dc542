"""How messages write amounts, errors, texts of several lines, tables, names and commands."""

import difflib
import errno
import re
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

DEFAULT_HOME = Path("prvr-runs")


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


def error_line(error: BaseException) -> str:
    """Class and first line of an error; passwords and tokens in addresses masked."""
    line = without_secrets(first_line(str(error)))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        line += f" (of the home, or of temporary files in {tempfile.gettempdir()})"
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


# After `scheme://user:` up to the last @ of the word, and the value of a query's field.
_PASSWORD = re.compile(r"(\w://[^\s/:@]*:)[^\s\"']+(?=@)")
_FIELD = re.compile(r"([?&][\w.-]*(?:password|passwd|secret|token|signature|key)=)[^\s&\"']+", re.I)


def without_secrets(text: str) -> str:
    """A text whose addresses show neither passwords nor tokens."""
    return _FIELD.sub(r"\1***", _PASSWORD.sub(r"\1***", text))


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of equal width for a terminal: first column left, others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def two_digits(value: float) -> str:
    """A number that is known roughly, e.g. `0.35`, `9`, `142`."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def amount(money: float, currency: str = "") -> str:
    """An amount of money in words, e.g. `1,204.50 EUR`."""
    text = "under 0.01" if 0 < money < 0.01 else f"{money:,.2f}"
    return f"{text} {currency}" if currency else text


def gib(size_bytes: float) -> str:
    """A size of memory in words, e.g. `1.5 GiB`."""
    return f"{size_bytes / 2**30:.1f} GiB"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The valid name that was most likely meant, or None.

    Case does not count, a beginning is enough where it is the only one (`max` for `maximize`),
    and a setting may be named without its section: `tau` finds `losses.tau`, `tua` too.
    """
    wanted = name.lower()
    whole = {candidate.lower(): candidate for candidate in names}
    tails = {candidate.rpartition(".")[2]: whole[candidate] for candidate in reversed(whole)}
    begun = [candidate for candidate in whole if len(wanted) > 1 and candidate.startswith(wanted)]
    if wanted in whole or wanted in tails:
        return whole.get(wanted) or tails[wanted]
    if len(begun) == 1:
        return whole[begun[0]]
    for known, given in ((whole, wanted), (tails, wanted.rpartition(".")[2])):
        close = difflib.get_close_matches(given, known, n=1)
        if close:
            return known[close[0]]
    return None


def suggestion(name: object, names: Iterable[str]) -> str:
    """`; did you mean X?` where a valid name is near, else nothing."""
    found = nearest(name, names) if isinstance(name, str) else None
    return f"; did you mean {found}?" if found else ""


def command(*words: str, home: Path | None = None, **options: object) -> str:
    """A command line of `prvr-sweep` as a shell takes it, complete where it is printed.

    Args:
        words: The command and its arguments; what the user is to put in is in capital letters.
        home: The home, absolute; left out if it is the default of the working directory.
        options: Values of other options by name, e.g. `tracking_uri`; True: a flag; None: left out.
    """
    named: dict[str, object] = {} if home in (None, DEFAULT_HOME.resolve()) else {"home": home}
    parts = ["prvr-sweep", *words]
    for name, value in {**named, **options}.items():
        if value is not None:
            parts.append(f"--{name.replace('_', '-')}")
            parts += [] if value is True else [str(value)]
    return shlex.join(parts)


def duration_text(seconds: float) -> str:
    """A time in two units at most, e.g. `40 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
