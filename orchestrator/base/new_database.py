"""Makes SQLite files whole or not at all.

Optuna and MLflow make their tables in many steps. Until the last of them nobody can read the file,
and one whose maker was killed between two can never be opened again.
"""

import uuid
from collections.abc import Callable
from pathlib import Path


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
