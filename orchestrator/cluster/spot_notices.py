"""Notices that this machine is about to be taken away: EC2's metadata service, or a signal.

A spot instance gets a notice about two minutes before. Batch systems send a signal instead.
"""

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from types import FrameType
from typing import Protocol
from urllib.error import HTTPError

# Link-local, the same on every EC2 instance.
METADATA_URL = "http://169.254.169.254"
_ACTION = "spot/instance-action"
_REBALANCE = "events/recommendations/rebalance"
# Amazon's maximum; a token that expires earlier, e.g. with a restart of the service, is renewed.
_TOKEN_S = 21_600
# The service runs on the same host: if it takes longer, it does not exist.
_ANSWER_S = 2.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Notice:
    """One notice.

    Args:
        key: Identifies the notice; the same each time that it is repeated.
        reason: What happens, in words.
        at: When it happens, Unix time in seconds.
    """

    key: str
    reason: str
    at: float


class NoticeSource(Protocol):
    """Where notices come from."""

    def look(self) -> Notice | None:
        """The current notice, or None."""

    def wait(self, seconds: float) -> None:
        """Pause between two looks; returns early if a notice arrives."""


class Ec2Notices:
    """Asks EC2's instance metadata service, version 2.

    Args:
        url: Where the service answers.
        say: Takes a line for the log.
    """

    def __init__(self, url: str, say: Say) -> None:
        self._url = url.rstrip("/")
        self._say = say
        # The service must never be asked through a proxy.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._token: str | None = None
        self._trouble: str | None = None
        self._said: set[str] = set()
        self._first_seen: dict[str, float] = {}

    def look(self) -> Notice | None:
        """See `NoticeSource.look`; None also if the service does not answer."""
        action = self._get(_ACTION)
        self._mention_rebalance()
        return self._parse(action) if action else None

    def wait(self, seconds: float) -> None:
        """See `NoticeSource.wait`."""
        time.sleep(seconds)

    def _parse(self, text: str) -> Notice | None:
        seen = self._first_seen.setdefault(text, time.time())
        try:
            found = json.loads(text)
            action = str(found["action"])
            # A hibernation may begin at once and names no time.
            at = _unix_time(found["time"]) if "time" in found else seen
        except (ValueError, KeyError, TypeError):
            self._say_once(f"{self._url}: {_ACTION} is not a notice: {text[:200]!r}")
            return None
        return Notice(text, f"spot instance action {action}", at)

    def _mention_rebalance(self) -> None:
        """Log that Amazon may take the instance at some time, which is no reason to act."""
        if recommendation := self._get(_REBALANCE):
            self._say_once(f"rebalance recommendation (nothing is done): {recommendation[:200]}")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _get(self, path: str) -> str | None:
        """Metadata below `latest/meta-data`; None if there is none or no server answers."""
        try:
            text = self._ask(path)
        except (OSError, HTTPException) as error:
            self._token = None
            trouble = f"{self._url} does not answer ({error}); trying again"
            if self._trouble is None:
                self._say(trouble)
            self._trouble = trouble
            return None
        if self._trouble is not None:
            self._say(f"{self._url} answers")
            self._trouble = None
        return text

    def _ask(self, path: str) -> str | None:
        try:
            return self._ask_with_token(path)
        except HTTPError as error:
            if error.code == 404:
                return None
            if error.code != 401:
                raise
        self._token = None
        return self._ask_with_token(path)

    def _ask_with_token(self, path: str) -> str:
        if self._token is None:
            life = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
            self._token = self._call("PUT", "api/token", life)
        return self._call("GET", f"meta-data/{path}", {"X-aws-ec2-metadata-token": self._token})

    def _call(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(
            f"{self._url}/latest/{path}", method=method, headers=headers
        )
        with self._open(request, timeout=_ANSWER_S) as answer:
            return str(answer.read().decode("utf-8", "replace"))


class SignalNotices:
    """Takes SIGUSR1 for a notice; must be created in the main thread.

    Args:
        lead_s: Seconds from the signal until the machine is taken away.
    """

    def __init__(self, lead_s: float) -> None:
        self._lead_s = lead_s
        self._received = threading.Event()
        self._count = 0
        self._notice: Notice | None = None
        signal.signal(signal.SIGUSR1, self._receive)

    def look(self) -> Notice | None:
        """See `NoticeSource.look`."""
        return self._notice

    def wait(self, seconds: float) -> None:
        """See `NoticeSource.wait`."""
        self._received.wait(seconds)
        self._received.clear()

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        self._notice = Notice(f"signal {self._count}", "SIGUSR1", time.time() + self._lead_s)
        self._received.set()


def _unix_time(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
