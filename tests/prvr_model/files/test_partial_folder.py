"""Folders of killed makers are removed, those of living ones are not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prvr_model.files.partial_folder import PartialFolder

_MAKES_AND_WAITS = """
import sys, time
from pathlib import Path
from prvr_model.files.partial_folder import PartialFolder
partial = PartialFolder(Path(sys.argv[1]))
partial.make()
print(partial.path, flush=True)
time.sleep(600)
"""


def aged(folder: Path, by_s: float = 3600.0) -> Path:
    then = time.time() - by_s
    os.utime(folder, (then, then))
    return folder


def test_a_folder_of_the_future_was_left_before_the_clock_was_set_back(tmp_path: Path) -> None:
    left = tmp_path / ".a.0123.partial"
    left.mkdir()
    aged(left, by_s=-3600.0)
    PartialFolder(tmp_path / "a").make()
    assert not left.exists()


@pytest.mark.parametrize("name", ["a.store", "odd [name]*"])
def test_only_what_a_killed_maker_left_is_removed(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    arguments = [sys.executable, "-c", _MAKES_AND_WAITS, str(target)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = aged(Path(process.stdout.readline().rstrip()))
        PartialFolder(target).make()
        assert theirs.exists()
        process.kill()
    other = tmp_path / ".other.0123.partial"
    other.mkdir()
    aged(other)
    ours = PartialFolder(target)
    ours.make()
    assert not theirs.exists()
    assert other.exists()
    ours.remove()
    assert not ours.path.exists()


def test_a_young_folder_may_still_get_its_lock(tmp_path: Path) -> None:
    young = tmp_path / ".a.0123.partial"
    young.mkdir()
    PartialFolder(tmp_path / "a").make()
    assert young.exists()


def test_what_became_the_target_stays(tmp_path: Path) -> None:
    partial = PartialFolder(tmp_path / "a")
    partial.make()
    (partial.path / "file").touch()
    partial.path.rename(tmp_path / "a")
    partial.remove()
    assert (tmp_path / "a" / "file").exists()
