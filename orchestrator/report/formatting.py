"""Numbers as a report shows them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import isnan
from unicodedata import category

from orchestrator.report.document import Block, Table
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.crossed import Interval
from orchestrator.statistics.outcomes import depths_of

_NOTHING = "–"  # noqa: RUF001  (a dash for a cell without a number)
_SMALLEST_P = 0.001
_SMALLEST_HOURS = 0.001


def number(value: float | None, digits: int = 1) -> str:
    """A number with so many digits after the point."""
    if value is None or isnan(value):
        return _NOTHING
    return f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 1) -> str:
    """A difference with its sign."""
    if value is None or isnan(value):
        return _NOTHING
    return f"{value:+.{digits}f}".replace("-", "−")  # noqa: RUF001  (a minus, as wide as a plus)


def with_spread(found: tuple[float, float | None] | None, digits: int = 1) -> str:
    """A mean and the standard deviation beside it."""
    if found is None:
        return _NOTHING
    mean, deviation = found
    return number(mean, digits) + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def interval_text(interval: Interval | None) -> str:
    """An interval as `1.2 to 3.4`."""
    if interval is None:
        return _NOTHING
    return f"{signed_or_plain(interval.low)} to {signed_or_plain(interval.high)}"


def signed_or_plain(value: float) -> str:
    """A number with its sign only where it is below 0."""
    return number(value).replace("-", "−")  # noqa: RUF001


def p_text(value: float | None) -> str:
    """A p-value, as `p = 0.012`; below a thousandth as such."""
    if value is None:
        return "no p"
    return f"p < {_SMALLEST_P}" if value < _SMALLEST_P else f"p = {value:.3f}"


def hours(seconds: float | None) -> str:
    """A time in hours: two digits below 10, whole numbers from there on."""
    if seconds is None:
        return _NOTHING
    found = seconds / 3600
    if 0 < found < _SMALLEST_HOURS:
        return f"< {_SMALLEST_HOURS}"
    # From 9.95 on two digits would be 10 already.
    return f"{found:.2g}" if found < 9.95 else f"{found:,.0f}"


def count_text(value: int | None) -> str:
    """A large number in millions."""
    return _NOTHING if value is None else f"{value / 1e6:.2f} M"


# Metrics as a table calls them, and which of them can be compared.


def display_name(metric: str) -> str:
    """`val/R5` as `R@5`, `val/clip/SumR` as `clip SumR`."""
    *branch, name = metric.split("/")[1:]
    is_recall = name.startswith("R") and name[1:].isdigit()
    return " ".join([*branch, f"R@{name[1:]}" if is_recall else name])


def not_compared(metric: str) -> str:
    """Why differences of a metric are in no table; empty: they can be."""
    if depths_of(metric) is not None:
        return ""
    return (
        "Differences are computed for metrics of the fused scores only, whose ranks are kept: "
        f"{display_name(metric)} has means here, without intervals and verdicts."
    )


# The label of `protocol: paper`, which every table of its numbers carries.


def label_of(spec: SweepSpec) -> str:
    """What tables of a sweep are to say of its protocol; empty: nothing."""
    return "protocol paper: selected on this split" if spec.protocol == "paper" else ""


def labelled(blocks: Iterable[Block], label: str) -> Iterator[Block]:
    """The blocks, with the label in the caption of every table."""
    for one in blocks:
        if label and isinstance(one, Table):
            yield replace(one, caption=f"{one.caption} ({label})")
        else:
            yield one


# Text of errors and users without what a page or a terminal would obey instead of showing it.


# Colours and moves of the cursor, as tools write them to a terminal.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_KEPT = frozenset("\n\t")
# Control characters, and halves of pairs, which no file can hold.
_HIDDEN = frozenset({"Cc", "Cs"})


def visible(text: str) -> str:
    """The text without control characters; ends of lines and tabs stay."""
    shown = _TERMINAL.sub("", text)
    return "".join(one for one in shown if one in _KEPT or category(one) not in _HIDDEN)
