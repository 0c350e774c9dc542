"""Detects truncated SQLite files, and makes new ones whole or not at all.

SQLite notices missing whole pages, but it fills a cut page with zeros and reads on until a row
makes no sense. Optuna and MLflow make their tables in many steps: no process can read the file
before the last step, and a file whose maker was killed between steps can never be opened again.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
# Bytes of the header that hold the page size; the value 1 stands for 65,536.
_PAGE_SIZE = slice(16, 18)
_LARGEST = 1


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
        make(f"sqlite:///{partial}")
        _give_name(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
