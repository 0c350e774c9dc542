"""Turns Ctrl-C into a flag that an executor reads where it is safe to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Ctrl-C (and SIGTERM) as a wish that is granted where nothing is half written.

    Python would raise KeyboardInterrupt anywhere, also between two writes to the study.
    """

    def __init__(self) -> None:
        self.requested = False
        self._raises_at_once = False
        self._is_listening = False

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Take the signals over; only the main thread can, others leave them alone."""
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
        """After something else took the signals, as Ray does on its start; only while listening."""
        if self._is_listening:
            for signal_number in _SIGNALS:
                signal.signal(signal_number, self._on_signal)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Around work that may be left anywhere: a wish is granted at once."""
        self.check()
        self._raises_at_once = True
        try:
            yield
        finally:
            self._raises_at_once = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Around writing inside of such work: a wish waits until it is done."""
        before, self._raises_at_once = self._raises_at_once, False
        try:
            yield
        finally:
            self._raises_at_once = before
        self.check()

    def check(self) -> None:
        """Grant a wish.

        Raises:
            KeyboardInterrupt: There was one.
        """
        if self.requested:
            raise KeyboardInterrupt

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._raises_at_once:
            # Only once: cleaning up, which is bounded in time, must not be left in its middle.
            self._raises_at_once = False
            raise KeyboardInterrupt
