"""A test that hangs is ended, and one that does not leaves no alarm behind."""

import signal
import threading

import pytest

from tests.time_limit import LIMIT_S, SOAK_LIMIT_S, HungError, limit_of, limited


def test_what_hangs_is_ended_with_its_name() -> None:
    with pytest.raises(HungError, match="waiting is not over"), limited(0.01, "waiting"):
        threading.Event().wait(60)


def test_what_ends_leaves_no_alarm() -> None:
    outer = signal.getitimer(signal.ITIMER_REAL)[0]
    before = signal.getsignal(signal.SIGALRM)
    with limited(50, "nothing"):
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) is before
    # The limit of this very test stood before.
    assert 0 < outer <= LIMIT_S


def test_long_tests_get_longer(request: pytest.FixtureRequest) -> None:
    assert limit_of(request.node) == LIMIT_S
    request.node.add_marker(pytest.mark.soak)
    assert limit_of(request.node) == SOAK_LIMIT_S
