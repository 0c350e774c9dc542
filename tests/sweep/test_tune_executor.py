"""Ray Tune keeps the contract; and how many trials fit."""

import os
import signal
from functools import partial

import pytest

from orchestrator import tune_executor
from orchestrator.executor import Interruption, NoRoomError
from orchestrator.provenance import available_cpus
from orchestrator.tune_executor import TuneExecutor, trials_that_fit
from tests.sweep.executor_contract import ExecutorContract, RecordingSource


@pytest.mark.integration
class TestTuneExecutor(ExecutorContract):
    make = staticmethod(partial(TuneExecutor, 1, 0.0, 1))
    concurrency = 2
    exit_kind = "ActorDiedError"

    def test_trials_run_at_the_same_time(self, told: RecordingSource) -> None:
        assert told.most_live == min(2, available_cpus())


def test_sigterm_while_ray_starts_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(scratch: object) -> None:
        # As Ray does at the beginning of its start.
        signal.signal(
            signal.SIGTERM, lambda number, frame: (_ for _ in ()).throw(SystemExit(number))
        )
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tune_executor, "_start_ray", start)
    source = RecordingSource([1])
    with Interruption().listening() as interruption, pytest.raises(KeyboardInterrupt):
        TuneExecutor(1, 0.0, 1).run(source, 1, interruption)
    assert source.calls == {}


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"), [(1, 0.0, 8), (3, 0.0, 2), (1, 1.0, 2), (1, 0.4, 4), (2, 0.5, 4)]
)
def test_as_many_trials_as_fit(cpus: int, gpus: float, expected: int) -> None:
    assert trials_that_fit(cpus, gpus, all_cpus=8, all_gpus=2) == expected


@pytest.mark.parametrize(("cpus", "gpus"), [(9, 0.0), (1, 0.5)])
def test_no_room_says_what_is_asked_and_there(cpus: int, gpus: float) -> None:
    with pytest.raises(NoRoomError, match=rf"{cpus} CPUs and {gpus:g} GPUs.*8 CPUs and 0 GPUs"):
        trials_that_fit(cpus, gpus, all_cpus=8, all_gpus=0)
