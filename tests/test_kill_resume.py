"""Kills of whole processes: a sweep that was killed and resumed equals one that lived."""

import signal

import pytest

from tests.kill_resume import kill_and_resume


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_sweep_goes_on_as_if_it_had_lived(seed: int) -> None:
    outcome = kill_and_resume(seed)
    assert outcome.equal, f"{outcome.in_flight}: {outcome.differences}"


@pytest.mark.soak
@pytest.mark.parametrize("seed", [5])
def test_a_sweep_goes_on_after_ctrl_c(seed: int) -> None:
    outcome = kill_and_resume(seed, signal.SIGINT)
    assert outcome.equal, f"{outcome.in_flight}: {outcome.differences}"
