"""Numbers, names and texts as a report shows them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import isnan
from unicodedata import category

from orchestrator.report.document import Block, Table
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.crossed import Interval
from orchestrator.statistics.outcomes import kept_outcome
from prvr_model.reporting import NDCG, NDCG_DEPTH

RECALLS = ("R1", "R5", "R10", "R100", "SumR")
"""Columns of a table of recalls."""
COLLAPSE_METRICS = tuple(
    f"val/collapse/{name}" for name in ("query_difference", "query_spearman", "clip_difference")
)
"""Metrics of semantic collapse that a report shows."""
NO_NUMBER = "–"  # noqa: RUF001
"""A cell without a number."""
# Unlike a hyphen, as wide as a plus.
_MINUS = "−"  # noqa: RUF001
_SMALLEST_P = 0.001
_SHOWN = {
    NDCG: f"nDCG@{NDCG_DEPTH}",
    "parameters": "weights",
    "bytes_per_video": "bytes per video",
    "ms_per_query": "ms per query",
    "train_s": "s of training",
}
_SMALLEST_HOURS = 0.001
# Escape sequences for colours and cursor moves, which tools write to a terminal.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_KEPT = frozenset("\n\t")
# Control characters, and single surrogates, which no file can hold.
_HIDDEN = frozenset({"Cc", "Cs"})


def number(value: float | None, digits: int = 1) -> str:
    """A number with `digits` digits after the point."""
    if value is None or isnan(value):
        return NO_NUMBER
    return f"{value:.{digits}f}".replace("-", _MINUS)


def signed(value: float | None, digits: int = 1) -> str:
    """A difference with its sign."""
    if value is None or isnan(value):
        return NO_NUMBER
    return f"{value:+.{digits}f}".replace("-", _MINUS)


def with_spread(spread: tuple[float, float | None] | None, digits: int = 1) -> str:
    """A mean and the standard deviation beside it."""
    if spread is None:
        return NO_NUMBER
    mean, deviation = spread
    return number(mean, digits) + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def interval_text(interval: Interval | None) -> str:
    """An interval as `1.2 to 3.4`."""
    if interval is None:
        return NO_NUMBER
    return f"{number(interval.low)} to {number(interval.high)}"


def p_text(value: float | None) -> str:
    """A p-value as `p = 0.012`, or as `p < 0.001`."""
    if value is None:
        return "no p"
    return f"p < {_SMALLEST_P}" if value < _SMALLEST_P else f"p = {value:.3f}"


def p_cell(value: float | None) -> str:
    """A p-value without its `p`, for a column of p-values."""
    return p_text(value).removeprefix("p = ").removeprefix("p ")


def hours(seconds: float | None) -> str:
    """A time in hours: two digits below 10, whole numbers from there on."""
    if seconds is None:
        return NO_NUMBER
    value = seconds / 3600
    if 0 < value < _SMALLEST_HOURS:
        return f"< {_SMALLEST_HOURS}"
    # From 9.95 on two digits would be 10 already.
    return f"{value:.2g}" if value < 9.95 else f"{value:,.0f}"


def millions(value: int | None) -> str:
    """A large number in millions."""
    return NO_NUMBER if value is None else f"{value / 1e6:.2f} M"


def short_number(value: object) -> str:
    """A number with four digits at most, e.g. `0.001`, `1e-5`; anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    digits, _, exponent = f"{value:.4g}".partition("e")
    return f"{digits}e{int(exponent)}" if exponent else digits


def shortened(text: str, num_letters: int) -> str:
    """A text cut to at most `num_letters` letters."""
    return text if len(text) <= num_letters else f"{text[: num_letters - 1]}…"


def last_part(path: str) -> str:
    """The name of a setting without its section, e.g. `tau` of `losses.tau`."""
    return path.rpartition(".")[2]


def display_name(metric: str) -> str:
    """A metric as tables call it: `val/R5` as `R@5`, `val/clip/SumR` as `clip SumR`."""
    *branch, name = metric.split("/")[1:]
    is_recall = name.startswith("R") and name[1:].isdigit()
    shown = f"R@{name[1:]}" if is_recall else _SHOWN.get(name, name)
    return " ".join([*branch, shown])


RECALL_HEADS = tuple(display_name(f"val/{name}") for name in RECALLS)
"""Heads of these columns."""


def not_compared(metric: str) -> str:
    """Why differences of a metric are in no table; empty if they can be compared."""
    if kept_outcome(metric) is not None:
        return ""
    return (
        "Differences are computed for metrics of the fused scores only: "
        f"{display_name(metric)} has means here, without intervals and verdicts."
    )


def protocol_label(spec: SweepSpec) -> str:
    """What every table of a sweep says about its protocol; empty for `protocol: validation`."""
    return "protocol paper: selected on this split" if spec.protocol == "paper" else ""


def labelled(blocks: Iterable[Block], label: str) -> Iterator[Block]:
    """The blocks, with the label in the caption of every table."""
    for block in blocks:
        if label and isinstance(block, Table):
            yield replace(block, caption=f"{block.caption} ({label})")
        else:
            yield block


def visible(text: str) -> str:
    """The text without control characters, which a page or a terminal would obey.

    Ends of lines and tabs stay.
    """
    shown = _TERMINAL.sub("", text)
    return "".join(c for c in shown if c in _KEPT or category(c) not in _HIDDEN)
