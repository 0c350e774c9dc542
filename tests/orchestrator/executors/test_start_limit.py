"""Trials that find no place end the sweep in time, and not before."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest
from ray import tune
from ray.tune.experiment import Trial

from orchestrator.base.errors import NothingStartsError
from orchestrator.executors.start_limit import StartLimit
from orchestrator.executors.tune_bridge import _waits_for

ASKED = {"CPU": 2.0, "memory": 2.0**30}


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def limit(clock: Clock, warnings: list[str], limit_s: float = 300.0) -> StartLimit:
    room = ({"CPU": 8.0, "memory": 2.0**32, "GPU": 1.0}, {"CPU": 1.0})
    return StartLimit(limit_s, lambda: room, warnings.append, clock)


def wait(limit: StartLimit, clock: Clock, seconds: int, asked: Mapping[str, float] | None) -> None:
    for _ in range(seconds):
        clock.now_s += 1
        limit.look(asked)


def test_the_user_is_warned_once_and_then_the_sweep_ends() -> None:
    clock, warnings = Clock(), list[str]()
    watch = limit(clock, warnings)
    wait(watch, clock, 59, ASKED)
    assert warnings == []
    wait(watch, clock, 240, ASKED)
    lack = (
        "a trial asks for 2 CPUs and 1.0 GiB of memory; all nodes together have 8 CPUs and 4.0 GiB "
        "of memory (free: 1 CPU and 0.0 GiB of memory; the rest is in use, or taken by processes "
        "that are slow to start)"
    )
    assert warnings == [
        f"no trial has started for 60 s: {lack}; the sweep ends when it has waited for 300 s"
    ]
    with pytest.raises(NothingStartsError) as raised:
        wait(watch, clock, 1, ASKED)
    assert str(raised.value) == (
        f"no trial started within 300 s: {lack}. `ray status` shows what occupies the nodes "
        "and what is missing; `prvr-sweep resume SWEEP` continues when there is room"
    )
    assert raised.value.exit_code == 2


def test_whatever_runs_begins_the_time_again() -> None:
    clock, warnings = Clock(), list[str]()
    watch = limit(clock, warnings)
    for _ in range(3):
        wait(watch, clock, 299, ASKED)
        wait(watch, clock, 1, None)
    assert len(warnings) == 3


def test_a_step_that_takes_long_is_no_wait() -> None:
    clock, warnings = Clock(), list[str]()
    watch = limit(clock, warnings)
    for _ in range(10):
        clock.now_s += 1000
        watch.look(ASKED)
    assert warnings == []


def test_a_short_limit_is_warned_of_before_it_ends() -> None:
    clock, warnings = Clock(), list[str]()
    with pytest.raises(NothingStartsError):
        wait(limit(clock, warnings, limit_s=8), clock, 8, ASKED)
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("statuses", "waits"),
    [
        ([], False),
        ([Trial.PENDING], True),
        ([Trial.TERMINATED, Trial.PENDING, Trial.ERROR], True),
        ([Trial.PENDING, Trial.RUNNING], False),
        ([Trial.TERMINATED, Trial.ERROR], False),
    ],
)
def test_who_waits_while_none_runs(statuses: list[str], waits: bool) -> None:
    asked = tune.PlacementGroupFactory([{"CPU": 2, "memory": 2**30}])
    trial = partial(SimpleNamespace, placement_group_factory=asked)
    assert _waits_for([trial(status=status) for status in statuses]) == (ASKED if waits else None)
