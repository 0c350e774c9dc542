"""A database at rest is one file, and readers leave no trace, whatever lies beside it."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.base.sqlite_files import bring_to_rest, lacks_log, open_reading
from tests.orchestrator.read_only import make_read_only, obey_modes

NAME = "what? #%20.db"


def rows(path: Path) -> list[int]:
    with closing(open_reading(path, 1.0)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM made")]


def written(path: Path) -> sqlite3.Connection:
    """A database that a process writes; two rows, one of them in the log alone."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE made (number INTEGER)")
    connection.execute("INSERT INTO made VALUES (1)")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("INSERT INTO made VALUES (2)")
    return connection


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_obeying_process(work: Callable[[], bool]) -> bool:
    """Whether some work succeeds in a process of its own that obeys modes."""
    child = os.fork()
    if not child:
        try:
            obey_modes()
            os._exit(0 if work() else 1)
        except BaseException:  # noqa: BLE001  (a fork must not return into pytest)
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What is copied of the three files, and the rows that a reader finds.
COPIES = {
    "one file": ([""], [1]),
    "with its log": (["", "-wal"], [1, 2]),
    "all": (["", "-wal", "-shm"], [1, 2]),
}


@pytest.mark.parametrize("which", COPIES)
@pytest.mark.parametrize("writable", [True, False])
def test_a_copy_is_read_without_a_trace(which: str, writable: bool, tmp_path: Path) -> None:
    endings, expected = COPIES[which]
    (tmp_path / "copy").mkdir()
    with closing(written(tmp_path / NAME)):
        for ending in endings:
            shutil.copy(tmp_path / f"{NAME}{ending}", tmp_path / "copy")
    copy = tmp_path / "copy" / NAME
    assert lacks_log(copy) is ("-wal" not in endings)
    before = content(copy.parent)
    if writable:
        assert rows(copy) == expected
    else:
        make_read_only(copy.parent)
        assert in_obeying_process(lambda: rows(copy) == expected)
        assert not in_obeying_process(lambda: bool((copy.parent / "x").touch()) or True)
    # The index of a log that is shared may be set up anew.
    shared = f"{NAME}-shm"
    after = content(copy.parent)
    assert before.keys() == after.keys()
    assert all(before[name] == after[name] for name in before if name != shared)


def test_a_reader_while_another_process_writes(tmp_path: Path) -> None:
    with (
        closing(written(tmp_path / NAME)) as driver,
        closing(open_reading(tmp_path / NAME, 1)) as one,
    ):
        query = "SELECT max(number) FROM made"
        assert one.execute(query).fetchone() == (2,)
        driver.execute("INSERT INTO made VALUES (3)")
        assert one.execute(query).fetchone() == (3,)
        make_read_only(tmp_path)
        assert in_obeying_process(lambda: rows(tmp_path / NAME) == [1, 2, 3])
        tmp_path.chmod(0o755)


def test_a_database_comes_to_rest(tmp_path: Path) -> None:
    path = tmp_path / NAME
    written(path).close()
    assert lacks_log(path)
    bring_to_rest(path)
    assert not lacks_log(path)
    bring_to_rest(path)
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    assert rows(path) == [1, 2]
    bring_to_rest(tmp_path / "missing.db")
    assert not (tmp_path / "missing.db").exists()


def test_what_a_killed_driver_left_comes_to_rest(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    with closing(written(tmp_path / NAME)):
        for ending in ("", "-wal", "-shm"):
            shutil.copy(tmp_path / f"{NAME}{ending}", tmp_path / "left")
    bring_to_rest(tmp_path / "left" / NAME)
    assert list(content(tmp_path / "left")) == [NAME]
    assert rows(tmp_path / "left" / NAME) == [1, 2]


def test_a_database_that_is_read_all_the_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.base.sqlite_files._REST_BUSY_S", 0.1)
    path = tmp_path / NAME
    with closing(written(path)), closing(open_reading(path, 1)) as reader:
        assert reader.execute("SELECT max(number) FROM made").fetchone() == (2,)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            bring_to_rest(path)
        # What the log held is in the file.
        assert (tmp_path / f"{NAME}-wal").stat().st_size == 0
        shutil.copy(path, tmp_path / "copy.db")
        assert rows(tmp_path / "copy.db") == [1, 2]
