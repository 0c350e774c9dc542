"""Ends a test that hangs: it fails with the place at which it waited, and the others run on."""

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

# A bound on hangs, not on slowness: machines are shared, and ten times slower than alone at times.
LIMIT_S, SOAK_LIMIT_S = 600, 900
# Code that keeps Python from running its signal handler gets so much more; then all ends.
_GRACE_S = 60


class HungError(BaseException):
    """A test took longer than any can; no Exception, so that no code under test handles it."""


@contextmanager
def limited(limit_s: float, what: str) -> Iterator[None]:
    """Raise in the main thread after some seconds; needs a system with SIGALRM.

    Raises:
        HungError: The seconds are over.
    """

    def hung(number: int, frame: FrameType | None) -> None:
        raise HungError(f"{what} is not over after {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    faulthandler.dump_traceback_later(limit_s + _GRACE_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_of(item: pytest.Item) -> int:
    """Seconds that a part of a test (set-up, call, end) may take."""
    return SOAK_LIMIT_S if item.get_closest_marker("soak") else LIMIT_S


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with limited(limit_of(item), f"the set-up of {item.nodeid}"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with limited(limit_of(item), item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with limited(limit_of(item), f"the end of {item.nodeid}"):
        return (yield)
