"""The collector stays off until the last block ends, whatever thread that is on."""

import gc
from threading import Event, Thread

import pytest

from orchestrator.base.collector import collector_off


def test_blocks_of_several_threads_overlap() -> None:
    entered, leave = Event(), Event()

    def other() -> None:
        with collector_off():
            entered.set()
            leave.wait()

    thread = Thread(target=other)
    with collector_off():
        assert not gc.isenabled()
        thread.start()
        entered.wait()
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_an_error_turns_it_on_again() -> None:
    with pytest.raises(ZeroDivisionError), collector_off():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_what_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
