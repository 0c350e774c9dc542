"""A storage that turns read-only in the middle of a sweep: trials fail with it, as one cause."""

import errno
import json
from pathlib import Path

import pytest

from orchestrator import cli, launch
from prvr_model import storage
from tests.cli.commands import TINY_SPACE
from tests.tracking.conftest import _empty_database, home  # noqa: F401  (fixtures)


def test_a_storage_that_turns_read_only(
    home: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write, written = storage._write_local, []

    def until_read_only(target: Path, content: bytes) -> None:
        # The first trial's first epoch and the sweep's own file; then nothing more.
        if len(written) >= 4:
            raise OSError(errno.EROFS, "Read-only file system")
        written.append(target)
        write(target, content)

    monkeypatch.setattr(storage, "_write_local", until_read_only)
    monkeypatch.setattr(launch, "_FLUSH_S", 30.0)
    (home / "tiny.yaml").write_text(TINY_SPACE)
    place = ["--home", str(home)]
    assert cli.run(["launch", f"{home}/tiny.yaml", *place, "--executor", "inline"]) == 4
    capsys.readouterr()

    assert cli.run(["status", "tiny", *place, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["counts"]["failed"]) == ("finished", 2)
    (group,) = shown["failures"]
    assert group["kind"] == "StorageError"
    assert group["numbers"] == [0, 1]
    assert "safetensors: cannot be written" in group["message"]
    assert "Read-only file system" in group["message"]
    # What was written before is as it was.
    assert all(one.stat().st_size > 0 for one in written)
