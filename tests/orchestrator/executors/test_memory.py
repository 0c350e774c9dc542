"""Trials that find no memory: one cause that says what to do, or micro-batches that are smaller."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from orchestrator.executors.executor import Executor
from orchestrator.executors.inline_executor import InlineExecutor
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.retries import (
    OUT_OF_MEMORY,
    EvictedTrials,
    GroupSizes,
    is_out_of_memory,
    with_smaller_batches,
)
from orchestrator.executors.start_limit import StartLimit
from orchestrator.executors.tune_bridge import Bridge
from orchestrator.executors.tune_executor import TrialSlot, TuneExecutor
from orchestrator.executors.wire import request_from_json
from orchestrator.study.trial import FailureCause, TrialState
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.status import read_status
from prvr_model.settings import SpeedSettings
from tests.orchestrator.executors.executor_contract import RecordingSource
from tests.orchestrator.executors.executor_contract import request as trial_request
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec


class Warned(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def test_out_of_memory_is_one_cause_with_its_remedy(tmp_path: Path) -> None:
    result = run_sweep(
        small_spec("search.trials=4"),
        Path("/store"),
        FINGERPRINT,
        tmp_path,
        executor="inline",
        function="tests.orchestrator.sweep.faulty_trials:too_large",
    )
    assert result.counts[TrialState.FAILED] == 4
    shown = read_status(tmp_path, "small")
    assert {failure.kind for failure in shown.failures} == {"OutOfMemoryError"}
    for group in shown.failures:
        assert "training.batch_videos" in group.message
        assert "Fewer trials at once" in group.message
    assert "Tried to allocate 2 GiB" in " ".join(failure.message for failure in shown.failures)
    # Of the GPU's long advice only its first line; the whole of it is in the traceback.
    assert "\n" not in "".join(failure.message for failure in shown.failures)


@pytest.mark.parametrize(
    "executor",
    [
        InlineExecutor,
        pytest.param(partial(TuneExecutor, TrialSlot()), marks=pytest.mark.soak, id="tune"),
    ],
)
def test_micro_batches_shrink_until_there_is_memory(
    tmp_path: Path, executor: Callable[[str], Executor]
) -> None:
    progress = Warned()
    function = "tests.orchestrator.sweep.faulty_trials:too_large_at_once"
    result = run_sweep(
        small_spec(
            "search.trials=1", "training.batch_videos=11", "speed.on_out_of_memory=micro_batches"
        ),
        Path("/store"),
        FINGERPRINT,
        tmp_path,
        executor=executor(function),
        progress=progress,
    )
    assert result.counts[TrialState.COMPLETE] == 1
    line = "trial 0 ran out of memory after epoch 1; it continues with smaller micro-batches"
    assert progress.lines == [line] * 2  # 11, 6 and 3 videos
    assert read_status(tmp_path, "small").trials[0].moves == 0


def test_tune_is_given_the_same_trial_with_smaller_micro_batches() -> None:
    source = RecordingSource([0])
    bridge = Bridge(
        source,
        1,
        Interruption(),
        EvictedTrials(),
        GroupSizes(1, 1, lambda: 0),
        StartLimit(60.0, dict, lambda _: None),
    )
    speed = SpeedSettings(micro_batch_videos=2, on_out_of_memory="micro_batches")
    bridge.suggest("first")
    bridge._live["first"] = replace(trial_request(0), speed=speed)
    bridge.fail("first", FailureCause(OUT_OF_MEMORY, "", ""))
    again = bridge.suggest("second")
    assert isinstance(again, dict)
    assert request_from_json(again["request"]).speed.micro_batch_videos == 1
    assert source.moves == [(0, OUT_OF_MEMORY)]
    assert not source.causes


def test_one_video_that_is_too_large_is_a_failure() -> None:
    speed = SpeedSettings(micro_batch_videos=2, on_out_of_memory="micro_batches")
    request = replace(trial_request(0), speed=speed)
    cause = FailureCause(OUT_OF_MEMORY, "", "")
    smaller = with_smaller_batches(request, cause)
    assert smaller is not None
    assert smaller.speed.micro_batch_videos == 1
    assert with_smaller_batches(smaller, cause) is None
    assert with_smaller_batches(request, FailureCause("ValueError", "", "")) is None
    assert with_smaller_batches(replace(request, speed=SpeedSettings()), cause) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("shapes (2, 3) and (4, 5) do not fit"), False),
        (OSError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
