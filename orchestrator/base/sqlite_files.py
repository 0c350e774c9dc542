"""Detects truncated SQLite files, and makes new ones whole or not at all.

SQLite notices where whole pages are missing. What is left of a cut page it fills with zeros and
reads on, until some row in it makes no sense. Optuna and MLflow make their tables in many steps:
until the last of them no process can read the file, and one whose maker was killed between two can
never be opened again.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
# Where the header has the size of a page, and the number that stands for 65,536 there.
_PAGE_SIZE = slice(16, 18)
_LARGEST = 1


def what_is_torn(path: Path) -> str | None:
    """What a file lacks to be a whole database, in words.

    None: no damage that shows here. SQLite itself says what is wrong with a file that is missing,
    cannot be read or is no database.
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
    """Make a file that is missing; one that another process makes meanwhile stays.

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
        # Unlike a renamed file, a link never takes the place of what another process has made.
        path.hardlink_to(partial)
    except FileExistsError:
        return
    except OSError:
        # A file system without links.
        if not path.exists():
            partial.rename(path)
