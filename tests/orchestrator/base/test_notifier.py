"""Messages to webhooks and commands: retried, limited in time, silent about secrets."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.base import notifier
from orchestrator.base.errors import NotifyError
from orchestrator.base.notifier import Target, send
from tests.leftovers import left_of
from tests.orchestrator.base.webhook import seconds_of, webhook

MESSAGE = {"event": "finished", "sweep": "größer"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "_PAUSES_S", (0.01, 0.01, 0.01))
    # Nothing of this machine's goes through a proxy.
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_webhook_gets_the_message_as_json() -> None:
    with webhook() as server:
        target = Target.of(f"{server.address}/hook/part?key=secret")
        assert send(target, MESSAGE, 20) is None
    assert server.bodies == [MESSAGE]
    assert server.paths == ["/hook/part?key=secret"]
    assert server.headers[0]["Content-Type"] == "application/json"


def test_a_user_and_password_become_a_header() -> None:
    with webhook() as server:
        address = server.address.replace("://", "://me:p%40ss@")
        assert send(Target.of(address), MESSAGE, 20) is None
    assert server.headers[0]["Authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize(
    ("codes", "problem", "tries"),
    [
        ((500, 503, 200), None, 3),
        ((429, 200), None, 2),
        ((500,), "it answers HTTP 500", 4),
        ((404, 200), "it answers HTTP 404", 1),
        # A redirect would turn the POST into a GET.
        ((302,), "it answers HTTP 302", 4),
    ],
)
def test_what_may_pass_is_tried_again(
    codes: tuple[int, ...], problem: str | None, tries: int
) -> None:
    with webhook(*codes) as server:
        assert send(Target.of(server.address), MESSAGE, 20) == problem
    assert server.bodies == [MESSAGE] * tries


def test_a_server_that_is_gone_or_silent_is_given_up_in_time() -> None:
    with webhook() as server:
        gone = Target.of(server.address)
    assert send(gone, MESSAGE, 20) == "Connection refused"
    with webhook(0) as server:
        begin_s = time.monotonic()
        problem = send(Target.of(server.address), MESSAGE, 0.3)
        assert seconds_of(begin_s) < 10
    assert problem in ("no answer in time", "TimeoutError")


def program(folder: Path, text: str) -> str:
    """A command that runs Python, with an argument that holds a space."""
    (folder / "a program.py").write_text(text)
    return f"{sys.executable} '{folder}/a program.py' secret"


def test_a_command_gets_the_message_on_stdin_without_a_shell(tmp_path: Path) -> None:
    text = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read() + sys.argv[1])"
    target = Target.of(program(tmp_path, text) + " '$(touch shell)' ; false")
    assert send(target, MESSAGE, 20) is None
    got = (tmp_path / "got").read_text()
    assert got == json.dumps(MESSAGE) + "secret"
    assert not Path("shell").exists()


def test_a_command_that_fails_is_run_again_and_its_code_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    target = Target.of(program(tmp_path, f"open({str(log)!r}, 'a').write('x'); exit(3)"))
    assert send(target, MESSAGE, 60) == "it ended with exit code 3"
    assert log.read_text() == "xxxx"


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    target = Target.of("sh -c 'sleep 77 & sleep 77'")
    begin_s = time.monotonic()
    problem = send(target, MESSAGE, 0.5)
    assert seconds_of(begin_s) < 10
    assert problem in (*(f"it did not end within {s} s" for s in "01"), "no answer in time")
    assert not left_of(
        lambda: (
            process
            for process in psutil.process_iter(["cmdline"])
            if process.info["cmdline"] == ["sleep", "77"]
        )
    )


def test_ctrl_c_ends_the_wait() -> None:
    with webhook(0) as server:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin_s = time.monotonic()
        assert send(Target.of(server.address), MESSAGE, 20) == "interrupted"
        assert seconds_of(begin_s) < 10


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "found an empty text"),
        ("no-such-program-anywhere x", "found no program 'no-such-program-anywhere'"),
        ("/no/such/program x", "found no program '/no/such/program'"),
        ("hooks.example/T0/secret", "found no such program"),
        ("curl 'x", "found a command that cannot be split: No closing quotation"),
        ("ftp://me:secret@host/x", "found an address that cannot be used"),
        ("https://", "found an address that cannot be used"),
        ("https://me:secret@host:x/", "found an address that cannot be used"),
        ("https://host/a secret", "found an address that cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused_without_its_secrets(text: str, found: str) -> None:
    with pytest.raises(NotifyError) as caught:
        Target.of(text)
    assert str(caught.value).startswith(f"--notify (or PRVR_NOTIFY): {found}")
    assert "allowed: a command, or an address http://... or https://..." in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_target_is_shown_without_anything_secret() -> None:
    assert str(Target.of("https://me:a@hooks.example:8/T0/B1?k=b")) == "https://hooks.example"
    assert str(Target.of("sh -c secret")) == "sh"
