"""Turns Ctrl-C into a flag that an executor reads where it is safe to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Ctrl-C (and SIGTERM) as a request to stop, obeyed only where nothing is half written.

    Python alone would raise KeyboardInterrupt anywhere, also between two writes to the study.
    """

    def __init__(self) -> None:
        self.requested = False
        self._raises_at_once = False
        self._is_listening = False

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Handle the signals while the block runs; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {signal_number: signal.getsignal(signal_number) for signal_number in _SIGNALS}
        self._is_listening = True
        self.listen_again()
        try:
            yield self
        finally:
            self._is_listening = False
            for number, handler in previous.items():
                signal.signal(number, handler)

    def listen_again(self) -> None:
        """Handle the signals again after something else, such as Ray's start, took them over."""
        if self._is_listening:
            for signal_number in _SIGNALS:
                signal.signal(signal_number, self._on_signal)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Around work that may stop anywhere: a request is obeyed at once."""
        self.check()
        self._raises_at_once = True
        try:
            yield
        finally:
            self._raises_at_once = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Around writes inside such work: a request waits until they are done."""
        before, self._raises_at_once = self._raises_at_once, False
        try:
            yield
        finally:
            self._raises_at_once = before
        self.check()

    def check(self) -> None:
        """Obey a request to stop.

        Raises:
            KeyboardInterrupt: There was a request.
        """
        if self.requested:
            raise KeyboardInterrupt

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._raises_at_once:
            # Only once: a second Ctrl-C must not break off the clean-up, which is bounded in time.
            self._raises_at_once = False
            raise KeyboardInterrupt
