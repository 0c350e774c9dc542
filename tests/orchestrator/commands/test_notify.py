"""`--notify`: what is told of each end of a sweep; an end never changes by it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.base import notifier
from orchestrator.base.errors import LocationError
from orchestrator.commands.notify import notified
from orchestrator.study.joint_record import JointRecord
from orchestrator.study.reader import OVER_BUDGET
from orchestrator.sweep.status import this_driver
from tests.orchestrator.base.webhook import Webhook, webhook
from tests.orchestrator.command_line import TINY_SPACE, Run
from tests.orchestrator.helpers import new_searcher, new_study, reopened_study, small_spec

# The commands have the names of their modules.
launch_module = import_module("orchestrator.commands.launch")
resume_module = import_module("orchestrator.commands.resume")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "_PAUSES_S", (0.01,))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("launch tiny.yaml --home home", launch_module),
        ("resume tiny --home home", resume_module),
    ],
)
def test_launch_and_resume_tell_whom_the_option_or_the_environment_names(
    line: str, runs: ModuleType, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"_{line.partition(' ')[0]}_one"
    monkeypatch.setattr(runs, name, lambda *_: 4)
    with webhook() as server:
        run(f"{line} --notify {server.address}", 4)
        monkeypatch.setenv("PRVR_NOTIFY", f"{server.address}/other")
        run(line, 4)
        run(f"{line} --notify {server.address}/wins", 4)
    assert server.paths == ["/", "/other", "/wins"]
    assert [body["event"] for body in server.bodies] == ["finished_with_failures"] * 3
    assert [body["sweep"] for body in server.bodies] == ["tiny"] * 3


def test_a_message_that_fails_is_a_warning_without_secrets(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with webhook(500) as server:
        address = server.address.replace("://", "://me:word@")
        assert notified(f"{address}/hidden?key=word", home, "small", lambda: 4) == 4
    assert capsys.readouterr().err == (
        "warning: http://127.0.0.1 was not told how the sweep ended: it answers HTTP 500\n"
    )


def test_what_cannot_be_told_is_refused_before_anything_runs(folder: Path, run: Run) -> None:
    _, err = run("launch tiny.yaml --home other --notify no-such-program", 2)
    assert "--notify (or PRVR_NOTIFY): found no program 'no-such-program'" in err
    assert not (folder / "other").exists()
    line = "launch tiny.yaml --submit http://127.0.0.1:1 --notify sh"
    assert "set PRVR_NOTIFY in the head's environment instead" in run(line, 2)[1]


def message_of(home: Path, ended: Callable[[], int], sweep: str = "small") -> dict[str, Any]:
    """What a webhook is told where a sweep ends so."""
    server: Webhook
    with webhook() as server:
        try:
            code = notified(server.address, home, sweep, ended)
        except BaseException as error:  # noqa: BLE001  (the end of the sweep, passed on)
            code = getattr(error, "exit_code", 130)
    (message,) = server.bodies
    assert message["exit_code"] == code
    return message


def begun(home: Path, name: str = "small", *overrides: str) -> None:
    """A sweep that this process drives: one trial complete, one pruned."""
    spec = small_spec(f"name={name}", *overrides)
    study = new_study(home, spec)
    searcher = new_searcher(study, spec)
    for number, value in enumerate((3.0, 9.0)):
        searcher.next()
        begun_ms = study.summary(number).started_ms or 0
        study.record_epoch(number, 1, value, begun_ms + 3_600_000, is_judged=False)
    study.tell_complete(0)
    study.tell_pruned(1)
    study.set_attribute("driver", this_driver())
    study.set_attribute("metric", "val/SumR")
    study.set_attribute("spec_yaml", spec.dump_yaml())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    begun(tmp_path)
    return tmp_path


def raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("ended", "event", "code"),
    [
        (lambda: 0, "finished", 0),
        (lambda: 1, "finished", 1),
        (lambda: 4, "finished_with_failures", 4),
        (lambda: 130, "interrupted", 130),
        (raising(KeyboardInterrupt()), "interrupted", 130),
        (raising(LocationError("the disk s3://a:pass@b is gone\nand more")), "failed", 2),
    ],
)
def test_every_end_has_its_event(
    home: Path, ended: Callable[[], int], event: str, code: int
) -> None:
    message = message_of(home, ended)
    assert (message["event"], message["exit_code"]) == (event, code)
    assert message["counts"] == {"running": 0, "complete": 1, "pruned": 1, "failed": 0}
    assert message["best"] == {"trial": 0, "value": 3.0, "metric": "val/SumR"}
    assert "money" not in message
    reason = "the disk s3://a:***@b is gone" if event == "failed" else None
    assert message.get("reason") == reason


def test_a_spent_budget_is_told_with_its_reason(home: Path) -> None:
    reopened_study(home, small_spec()).set_attribute(OVER_BUDGET, "36 of 40 EUR are spent")
    message = message_of(home, lambda: 0)
    assert (message["event"], message["reason"]) == ("budget", "36 of 40 EUR are spent")


def test_a_sweep_of_another_process_or_a_broken_study_is_not_counted(home: Path) -> None:
    reopened_study(home, small_spec()).set_attribute("driver", {**this_driver(), "pid": 1})
    message = message_of(home, raising(LocationError("held")))
    assert (message["counts"], message["best"]) == ({}, None)
    (home / "study.db").write_bytes(b"no database")
    assert message_of(home, raising(LocationError("held")))["event"] == "failed"
    assert message_of(home / "none", lambda: 0)["counts"] == {}


def test_a_joint_sweep_is_told_of_once_for_the_whole(tmp_path: Path) -> None:
    for name in ("both-a", "both-b"):
        begun(tmp_path, name, "prices={currency: EUR, cpu_hour: 2}")
    names = {"a": "both-a", "b": "both-b", "c": "both-c"}
    JointRecord("", names, {}).write(tmp_path, "both")
    message = message_of(tmp_path, lambda: 0, "both")
    assert (message["event"], message["sweep"]) == ("finished", "both")
    assert message["counts"] == {"running": 0, "complete": 2, "pruned": 2, "failed": 0}
    assert list(message["parts"]) == ["both-a", "both-b"]
    assert message["parts"]["both-b"]["best"]["value"] == 3
    assert "best" not in message
    assert message["money"]["total"] == pytest.approx(8, rel=0.01)


def test_a_report_of_an_unforeseen_error_hides_who_is_told() -> None:
    arguments = ["launch", "x.yaml", "--notify", "https://h/secret", "--notify=secret"]
    hidden = cli._without_target(arguments)
    assert hidden == ["launch", "x.yaml", "--notify", "***", "--notify=***"]
