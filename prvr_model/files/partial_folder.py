"""A hidden folder beside its target, in which the target is made: it is renamed or removed.

A killed process leaves its folder behind, perhaps as large as a corpus. Folders are locked while
their makers live, so the next process that makes the same target recognises leftovers and removes
them.
"""

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from prvr_model.files.durable import partial_path, sync_folder

# A new folder that is not locked yet looks like a leftover; folders younger than this are kept.
_YOUNG_S = 60.0


class PartialFolder:
    """The folder of one maker.

    Args:
        target: Path that it gets by `replace_target` or by a rename of `path`.
    """

    def __init__(self, target: Path) -> None:
        self.path = partial_path(target)
        self._target = target
        self._made: list[Path] = []
        self._lock: int | None = None

    def make(self) -> None:
        """Make the folder, and remove those that killed makers of the target have left.

        Raises:
            OSError: It cannot be made.
        """
        _remove_leftovers(self._target)
        around = nearest_folder(self._target.parent)
        self._made = [path for path in self._target.parents if path.is_relative_to(around)][:-1]
        try:
            self.path.mkdir(parents=True)
        except OSError:
            self.remove()
            raise
        self._lock = _locked(self.path)

    def replace_target(self) -> None:
        """Rename the folder to the target, replacing an existing folder; survives a power cut.

        Raises:
            OSError: It cannot be renamed; the earlier target is intact.
        """
        sync_folder(self.path)
        old = self.path.with_suffix(".old") if self._target.exists() else None
        if old:
            self._target.rename(old)
        try:
            self.path.rename(self._target)
        except BaseException:
            if old:
                old.rename(self._target)
            raise
        if old:
            # Processes that have the old files mapped keep them until they close them.
            shutil.rmtree(old, ignore_errors=True)
        sync_folder(self._target.parent)

    def remove(self) -> None:
        """Remove the folder, and folders made around it, if it did not become the target."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # one that holds something else by now stays
            for folder in self._made:
                folder.rmdir()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def nearest_folder(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(parent for parent in (path, *path.parents) if os.access(parent, os.F_OK))


def _remove_leftovers(target: Path) -> None:
    for folder in target.parent.glob(f".{_literal(target.name)}.*.partial"):
        with suppress(OSError):
            # A clock that was set back leaves files of the future.
            if abs(time.time() - folder.stat().st_mtime) < _YOUNG_S:
                continue
            if (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Descriptor that holds the folder's lock; None if it is taken, or without locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
