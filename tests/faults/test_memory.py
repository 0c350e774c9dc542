"""A sweep whose trials find no memory ends, and says one thing about all of them."""

from pathlib import Path

import pytest

from orchestrator.memory_cause import is_out_of_memory
from orchestrator.status import read_status
from orchestrator.sweep import run_sweep
from orchestrator.trial import TrialState
from tests.sweep.helpers import FINGERPRINT, small_spec


def test_out_of_memory_is_one_cause_with_its_remedy(tmp_path: Path) -> None:
    result = run_sweep(
        small_spec("search.trials=4"),
        Path("/store"),
        FINGERPRINT,
        tmp_path,
        executor="inline",
        function="tests.faults.faulty_trials:too_large",
    )
    assert result.counts[TrialState.FAILED] == 4
    shown = read_status(tmp_path, "small")
    assert {one.kind for one in shown.failures} == {"OutOfMemoryError"}
    for group in shown.failures:
        assert "training.batch_videos" in group.message
        assert "Fewer trials at once" in group.message
    assert "Tried to allocate 2 GiB" in " ".join(one.message for one in shown.failures)
    # Of the GPU's long advice only its first line; the whole of it is in the traceback.
    assert "\n" not in "".join(one.message for one in shown.failures)


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
