"""A Ray of our own that does not start, without starting one: what is said, kept and left."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.base.errors import LocationError, RayFailedError
from orchestrator.executors import ray_session
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.ray_session import _new_scratch, attached_ray, keep_logs, own_ray

GIB = 2**30


def disks(free: dict[str, int]) -> Callable[[str], SimpleNamespace]:
    def usage(place: str) -> SimpleNamespace:
        if place not in free:
            raise FileNotFoundError(place)
        return SimpleNamespace(free=free[place])

    return usage


def test_files_of_ray_go_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(prefix: str, dir: str) -> str:
        made.append(dir)
        return f"{dir}/{prefix}12345678"

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    monkeypatch.setattr(Path, "rmdir", lambda _: None)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: f"/{'long' * 20}")
    monkeypatch.setattr(shutil, "disk_usage", disks({"/tmp": GIB, "/var/tmp": GIB}))
    assert _new_scratch() == Path("/tmp/prvr-12345678")
    free = {"/tmp": 1000, f"/{'long' * 20}": GIB, "/var/tmp": GIB}
    monkeypatch.setattr(shutil, "disk_usage", disks(free))
    made.clear()
    assert _new_scratch() == Path("/var/tmp/prvr-12345678")
    assert made == [f"/{'long' * 20}", "/var/tmp"]


def test_without_room_it_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")
    monkeypatch.setattr(shutil, "disk_usage", disks({"/tmp": 1000, "/dev/shm": 64 * 2**20}))
    with pytest.raises(LocationError) as caught:
        _new_scratch()
    assert str(caught.value) == (
        "no folder for Ray's files: it needs 0.2 GiB free in a folder that can be written and "
        "whose path is short; found /tmp (0.0 GiB free), /dev/shm (0.1 GiB free). Make room in "
        "/tmp, or set TMPDIR to such a folder"
    )


def test_a_start_that_fails_is_told_with_its_logs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch: list[Path] = []

    def init(_temp_dir: str, **_: Any) -> None:  # noqa: ANN401
        scratch.append(Path(_temp_dir).parent)
        logs = Path(_temp_dir) / "session_2026-01-01" / "logs"
        logs.mkdir(parents=True)
        (logs / "gcs_server.out").write_text("x" * 100_000 + "the end")
        raise ConnectionError("Failed to connect to GCS.\nmore")

    monkeypatch.setattr(ray_session.ray, "init", init)
    kept = tmp_path / "ray-logs"
    with (
        pytest.raises(RayFailedError) as caught,
        own_ray(1, (), Interruption(), kept),
    ):
        pytest.fail("it did not start")
    assert str(caught.value).startswith(
        "Ray does not start: ConnectionError: Failed to connect to GCS.; the ends of its logs are "
        f"in {kept}; "
    )
    end = (kept / "gcs_server.out").read_text()
    assert end.endswith("the end")
    assert len(end) == 2**16
    assert not scratch[0].exists()


def test_the_ray_of_a_user_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray_session.ray, "shutdown", lambda: pytest.fail("it is the user's"))
    for session in (
        own_ray(1, (), Interruption()),
        attached_ray("auto", 1, Interruption()),
    ):
        with (
            pytest.raises(RayFailedError, match=r"connected to a Ray; call `ray\.shutdown"),
            session,
        ):
            pytest.fail("there is one")


def test_logs_replace_those_of_an_earlier_failure(tmp_path: Path) -> None:
    logs = tmp_path / "scratch" / "ray" / "session_2026" / "logs"
    logs.mkdir(parents=True)
    kept = tmp_path / "home" / "ray-logs"
    assert keep_logs(tmp_path / "scratch", kept) == ""
    (logs / "raylet.err").write_text("")
    kept.mkdir(parents=True)
    (kept / "old.out").touch()
    assert keep_logs(tmp_path / "scratch", None) == ""
    assert keep_logs(tmp_path / "scratch", kept) == f"; the ends of its logs are in {kept}"
    assert [log.name for log in kept.iterdir()] == ["raylet.err"]
