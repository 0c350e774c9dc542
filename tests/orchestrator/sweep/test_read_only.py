"""A storage that becomes unwritable in the middle of a sweep costs no epoch."""

import errno
import json
import os
from pathlib import Path

import pytest

from orchestrator import cli
from prvr_model.files import folder as storage
from tests.cases import rest_in_soak
from tests.orchestrator.command_line import TINY_SPACE


@pytest.mark.parametrize("reason", rest_in_soak([errno.EROFS, errno.ENOSPC]))
def test_trials_stay_unfinished_and_continue_when_it_can_be_written_again(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reason: int,
) -> None:
    write, written = storage.replace_file, []

    def until_it_cannot(target: Path, content: bytes, *, durable: bool = True) -> None:
        if "trials" in target.parts and len(written) >= 3:  # the first trial's first epoch
            raise OSError(reason, os.strerror(reason))
        written.extend([target] * ("trials" in target.parts))
        write(target, content, durable=durable)

    (home / "tiny.yaml").write_text(TINY_SPACE)
    place = ["--home", str(home)]
    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_file", until_it_cannot)
        code = cli.run(["launch", f"{home}/tiny.yaml", *place, "--executor", "inline"])
    err = capsys.readouterr().err
    assert code == 2
    assert "the storage of the trials' folders cannot be used: trials 0: " in err
    assert "safetensors: cannot be written" in err
    assert os.strerror(reason) in err
    assert f"`prvr-sweep resume tiny --home {home}`" in err

    assert cli.run(["status", "tiny", *place, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["state"] == "interrupted"
    assert (shown["counts"]["running"], shown["counts"]["failed"]) == (1, 0)
    before = {path: path.read_bytes() for path in written}

    assert cli.run(["resume", "tiny", *place, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "continues with 1 unfinished and 1 new trials" in err
    assert json.loads(out)["trials"]["complete"] == 2
    # The first epoch was not trained again.
    ranks = [path for path in before if path.parent.name == "ranks"]
    assert ranks
    assert all(path.read_bytes() == before[path] for path in ranks)
