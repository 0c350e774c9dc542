"""Phases add up to the whole, whatever lies within what."""

import ast
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from orchestrator.base.stopwatch import (
    IMPORTS,
    REST,
    TRIALS,
    Stopwatch,
    importing,
    phase,
    running,
    running_stopwatch,
)
from tests.locations import ROOT


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stopwatch(clock: Clock) -> Stopwatch:
    return Stopwatch(before_s=2.0, clock=clock)


def test_a_phase_is_its_time_without_that_of_phases_within(
    stopwatch: Stopwatch, clock: Clock
) -> None:
    with running(stopwatch):
        clock.wait(1)
        with phase("outer"):
            clock.wait(10)
            with phase("inner"):
                clock.wait(100)
            clock.wait(20)
        with phase("inner"):
            clock.wait(200)
    clock.wait(4)
    assert stopwatch.seconds() == {IMPORTS: 2, "outer": 30, "inner": 300, REST: 5}
    assert list(stopwatch.seconds()) == [IMPORTS, "outer", "inner", REST]
    assert stopwatch.profile()["wall_s"] == 337


def test_a_phase_ends_with_an_error(stopwatch: Stopwatch, clock: Clock) -> None:
    def fail() -> None:
        clock.wait(3)
        raise ValueError

    with running(stopwatch):
        with pytest.raises(ValueError), phase("failing"):  # noqa: PT011
            fail()
        clock.wait(1)
    assert stopwatch.seconds() == {IMPORTS: 2, "failing": 3, REST: 1}


@pytest.mark.parametrize(("ago_s", "trials_s"), [(4.0, 9.0), (60.0, 15.0)])
def test_a_phase_may_have_begun_before_it_is_known(
    stopwatch: Stopwatch, clock: Clock, ago_s: float, trials_s: float
) -> None:
    with running(stopwatch), phase("start"):
        clock.wait(10)
        stopwatch.enter(TRIALS, ago_s=ago_s)
        clock.wait(5)
    assert stopwatch.seconds()[TRIALS] == trials_s
    assert stopwatch.seconds()["start"] == 15 - trials_s


def test_slots_of_trials_are_filled_by_epochs_and_other_things(
    stopwatch: Stopwatch, clock: Clock
) -> None:
    stopwatch.enter(TRIALS)
    clock.wait(10)
    trials = stopwatch.trials
    trials.at_once, trials.first_epochs_s, trials.later_epochs_s, trials.evaluation_s = 2, 3, 9, 2
    assert stopwatch.profile()["trials"]["other_s"] == 6


def test_without_a_stopwatch_and_on_other_threads_nothing_is_timed(
    stopwatch: Stopwatch, clock: Clock
) -> None:
    def elsewhere() -> None:
        with phase("elsewhere"):
            clock.wait(1)

    elsewhere()
    assert running_stopwatch() is None
    with running(stopwatch):
        in_thread(elsewhere)
    assert stopwatch.seconds().keys() == {IMPORTS, REST}


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_the_collector_rests_during_imports_and_is_left_as_it_was() -> None:
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_start_of_this_process_is_known() -> None:
    code = (
        "from orchestrator.base.stopwatch import Stopwatch; print(Stopwatch.of_process().profile())"
    )
    begun_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    took_s = time.monotonic() - begun_s
    # The kernel counts a process's start in whole ticks, so it may seem a tick older than it is.
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert 0 < ast.literal_eval(done.stdout)["phases"][IMPORTS] <= took_s + tick_s
