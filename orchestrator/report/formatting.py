"""Numbers as a report shows them."""

from math import isnan

from orchestrator.statistics.crossed import Interval

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
