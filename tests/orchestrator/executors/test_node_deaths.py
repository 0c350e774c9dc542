"""Whatever goes away under a trial, it goes on from its checkpoint, with the same numbers."""

import pytest

from tests.node_deaths import FAULTS, suffer

# One of each kind; `python -m tests.node_deaths` tries all of `FAULTS`.
KINDS = (
    "node of a one-worker trial drained",
    "node of one of two workers killed",
    "GCS silent",
)


@pytest.mark.soak
@pytest.mark.parametrize("fault", KINDS)
def test_trial_goes_on(fault: str) -> None:
    assert fault in FAULTS
    found = suffer(fault)
    assert found.completed, found
    assert found.equal, found
    # Three steps are an epoch.
    assert found.steps_lost <= 3, found
    if "drained" in fault:
        assert found.saved_step > 0
        assert found.steps_lost == 0
