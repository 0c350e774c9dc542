"""Sends one small message to an address or a command, in bounded time, and never raises.

What a user gave may hold secrets: in messages stands the host of an address, or the name of a
program, and nothing else of it.
"""

import base64
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from orchestrator.base.errors import NotifyError

# Before the second, third and fourth try.
_PAUSES_S = (1.0, 3.0, 9.0)
_ANSWER_S = 10.0
# Of 4xx, these say that the same message may be taken later.
_LATER = (408, 425, 429)
_ALLOWED = "allowed: a command, or an address http://... or https://..."


@dataclass(frozen=True)
class Target:
    """Where messages go.

    Args:
        address: An address that gets them by POST; None: a command.
        command: A command that gets them on stdin, run without a shell.
    """

    address: str | None
    command: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Target":
        """The target that a user names.

        Raises:
            NotifyError: It is no address, and no program of its name is found.
        """
        if "://" in text.partition(" ")[0]:
            return cls(_address(text))
        try:
            command = shlex.split(text)
        except ValueError as error:
            raise NotifyError(
                f"found a command that cannot be split: {error}; {_ALLOWED}"
            ) from None
        if not command:
            raise NotifyError(f"found an empty text; {_ALLOWED}")
        if shutil.which(command[0]) is None:
            # An address without its scheme may be a secret.
            is_name = not {*"/:?@"} & {*command[0]} or command[0].startswith(("/", "."))
            found = f"found no program {command[0]!r}" if is_name else "found no such program"
            raise NotifyError(f"{found}; {_ALLOWED}")
        return cls(None, tuple(command))

    def __str__(self) -> str:
        if self.address is None:
            return self.command[0]
        url = urlsplit(self.address)
        return f"{url.scheme}://{url.hostname}"


def send(target: Target, message: Mapping[str, Any], limit_s: float) -> str | None:
    """Send a message, again after growing pauses where that fails.

    Args:
        target: Where it goes.
        message: What is sent, as JSON.
        limit_s: Seconds after which it is given up, whatever happens.

    Returns:
        Why it was not taken; None: it was.
    """
    sending = _Sending(target, json.dumps(message).encode(), time.monotonic() + limit_s)
    # A thread: the look-up of a host's name has no time limit, and Ctrl-C must end the wait.
    thread = threading.Thread(target=sending.run, name="notify", daemon=True)
    thread.start()
    try:
        thread.join(limit_s)
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        sending.stop()
    return None if sending.is_taken else sending.problem


@dataclass
class _Sending:
    """The tries of one message."""

    target: Target
    body: bytes
    end_s: float
    is_taken: bool = False
    problem: str = "no answer in time"
    _stopped: threading.Event = field(default_factory=threading.Event)
    _process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Try until the message is taken, or it makes no sense to go on."""
        for pause_s in (0.0, *_PAUSES_S):
            if time.monotonic() + pause_s >= self.end_s or self._stopped.wait(pause_s):
                return
            left_s = self.end_s - time.monotonic()
            try_once = self._run_command if self.target.address is None else self._post
            if try_once(left_s):
                return

    def stop(self) -> None:
        """Try no more, and end a command that still runs."""
        self._stopped.set()
        if self._process is not None and self._process.poll() is None:
            _kill(self._process)

    def _post(self, left_s: float) -> bool:
        """One try; whether it was the last."""
        try:
            opener = urllib.request.build_opener(_NoRedirect())
            request = _request(self.target.address or "", self.body)
            opener.open(request, timeout=min(_ANSWER_S, left_s)).close()
        except HTTPError as error:
            self.problem = f"it answers HTTP {error.code}"
            return 400 <= error.code < 500 and error.code not in _LATER
        except URLError as error:
            self.problem = _reason(error.reason)
            return False
        except (OSError, HTTPException, ValueError) as error:
            self.problem = _reason(error)
            return False
        self.is_taken = True
        return True

    def _run_command(self, left_s: float) -> bool:
        """One try; whether it was the last."""
        try:
            self._process = subprocess.Popen(
                self.target.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # A second Ctrl-C is not for it.
                start_new_session=True,
            )
        except OSError as error:
            self.problem = error.strerror or type(error).__name__
            return False
        if self._stopped.is_set():
            _kill(self._process)
            return True
        try:
            self._process.communicate(self.body, timeout=left_s)
        except subprocess.TimeoutExpired:
            _kill(self._process)
            self.problem = f"it did not end within {left_s:.0f} s"
            return True
        self.is_taken = self._process.returncode == 0
        self.problem = f"it ended with exit code {self._process.returncode}"
        return self.is_taken


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an error: a POST would become a GET without its message."""

    def redirect_request(self, *_: object) -> None:
        """Go nowhere else."""


def _reason(error: object) -> str:
    """Why there is no answer, in the system's words: others may repeat the address."""
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a command with what it started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _request(address: str, body: bytes) -> urllib.request.Request:
    url = urlsplit(address)
    headers = {"Content-Type": "application/json", "User-Agent": "prvr-sweep"}
    if url.username is not None:
        login = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    bare = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
    return urllib.request.Request(bare, data=body, headers=headers, method="POST")


def _address(text: str) -> str:
    """An address as it was given.

    Raises:
        NotifyError: It is none that takes a POST.
    """
    try:
        url = urlsplit(text)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or any(letter.isspace() for letter in text):
        # The text may hold secrets in any part.
        raise NotifyError(f"found an address that cannot be used; {_ALLOWED}")
    return text
