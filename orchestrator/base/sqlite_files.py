"""SQLite files: made whole or not at all, read without a trace, left whole, known when truncated.

While it is written, a database in WAL mode is three files: what was written last is in `-wal`, and
its processes meet in `-shm`. `bring_to_rest` makes it one file again, which can be copied and read
without the right to write.

SQLite notices missing whole pages, but it fills a cut page with zeros and reads on until a row
makes no sense. Optuna and MLflow make their tables in many steps: no process can read the file
before the last step, and a file whose maker was killed between steps can never be opened again.
"""

import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from orchestrator.base.addresses import sqlite_url

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
# Bytes of the header that hold the page size; the value 1 stands for 65,536.
_PAGE_SIZE = slice(16, 18)
_LARGEST = 1
# The version that a reader must know: 2 where there may be a write-ahead log.
_READ_VERSION = 19
_WITH_LOG = 2
# A reader holds the file for milliseconds.
_REST_BUSY_S = 2.0
_REST_POLL_S = 0.02


def what_is_torn(path: Path) -> str | None:
    """How a database file is truncated, in words; None if it is not.

    A file that is missing, unreadable or no database also gives None: SQLite itself reports it.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return None
    if not header:
        return "it is empty"
    if header[: len(_MAGIC)] != _MAGIC[: len(header)]:
        return None
    page_bytes = int.from_bytes(header[_PAGE_SIZE], "big")
    page_bytes = 65_536 if page_bytes == _LARGEST else page_bytes
    if len(header) < _HEADER_BYTES or (page_bytes and path.stat().st_size % page_bytes):
        return "its end is missing"
    return None


def lacks_log(path: Path) -> bool:
    """Whether a write-ahead log belongs to a file and is not beside it: a copy may have lost it."""
    return _is_in_wal_mode(path) and not _beside(path, "-wal").exists()


def open_reading(path: Path, busy_s: float) -> sqlite3.Connection:
    """A connection that writes nothing, neither into the file nor beside it.

    Args:
        path: The file, absolute.
        busy_s: Seconds to wait for a process that holds it.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    how, has_own_index = "mode=ro", False
    if lacks_log(path):
        # Else SQLite would make a log.
        how = "immutable=1"
    elif _is_in_wal_mode(path) and not _beside(path, "-shm").exists():
        # No process writes, and the index of the log need not be shared: it stays in memory.
        how, has_own_index = "mode=ro&vfs=unix-none", True
    uri = f"file://{quote(str(path))}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_s, check_same_thread=False)
    if has_own_index:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    return connection


def bring_to_rest(path: Path) -> None:
    """Make a database that nobody writes one whole file, without a log.

    Raises:
        sqlite3.Error: It is damaged, cannot be written, or is read all the while: then what the log
            held is in the file, and the log stays.
    """
    if not _is_in_wal_mode(path):
        return
    with closing(sqlite3.connect(path, timeout=_REST_BUSY_S)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        deadline = time.monotonic() + _REST_BUSY_S
        while not _has_dropped_log(connection, is_last_try=time.monotonic() >= deadline):
            time.sleep(_REST_POLL_S)


def _has_dropped_log(connection: sqlite3.Connection, *, is_last_try: bool) -> bool:
    """Leave WAL mode; SQLite waits for no reader there."""
    try:
        connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError:
        if is_last_try:
            raise
        return False
    return True


def _is_in_wal_mode(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    return len(header) == _HEADER_BYTES and header[_READ_VERSION] == _WITH_LOG


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}{ending}")


def make_whole(path: Path, make: Callable[[str], None]) -> None:
    """Make a missing database file; a file that another process makes meanwhile is kept.

    Args:
        path: The file; its folder is made too.
        make: Makes the database of an SQLAlchemy URL and closes it.

    Raises:
        OSError: The folder cannot be written.
        SQLAlchemyError: Whatever `make` raises.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        make(sqlite_url(partial))
        _give_name(partial, path)
    finally:
        for left in (partial, _beside(partial, "-journal")):
            left.unlink(missing_ok=True)


def _give_name(partial: Path, path: Path) -> None:
    try:
        # Unlike a rename, a link never replaces a file that another process has made.
        path.hardlink_to(partial)
    except FileExistsError:
        return
    except OSError:
        # The file system has no hard links.
        if not path.exists():
            partial.rename(path)
