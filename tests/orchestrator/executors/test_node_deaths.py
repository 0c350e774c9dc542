"""Whatever goes away under a trial, it goes on from its checkpoint, with the same numbers."""

import pytest

from tests.node_deaths import FAULTS, suffer


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
def test_trial_goes_on(fault: str) -> None:
    found = suffer(fault)
    assert found.completed, found
    assert found.equal, found
    # Three steps are an epoch.
    assert found.steps_lost <= 3, found
    if "drained" in fault:
        assert found.saved_step > 0
        assert found.steps_lost == 0
