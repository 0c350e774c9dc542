"""Arrays that depend on frozen features only, computed once per store and kept beside it.

Each group of arrays is a folder of .npy files named for a hash of what it depends on, the
store's fingerprint included, so nothing stale is ever read. A folder is built under another
name and renamed: it exists whole or not at all. One process builds while the others wait for
it; without file locks each builds, and the first one's folders stay. Readers map the files, so all
trials of a machine share one copy in memory. If the store is read-only, its existing groups are
used and missing ones go to a temporary folder.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from prvr_model.errors import StoreError
from prvr_model.files.array_files import ArrayWriter, is_whole
from prvr_model.files.file_lock import exclusive
from prvr_model.files.partial_folder import PartialFolder

# Raised when the content or the layout of any cached array changes for the same key.
CACHE_VERSION = 3

_LOCK = ".building"

Arrays: TypeAlias = dict[str, np.ndarray]
# Writes the arrays of missing groups; the second argument holds those of existing groups.
Build: TypeAlias = Callable[[Mapping[str, ArrayWriter], Mapping[str, Arrays]], None]


class FrozenCache:
    """Cache of one store.

    Args:
        store: Folder of the store.
        fingerprint: Fingerprint of its content.
        scratch: Folder for missing groups; None: they are kept beside the store.
    """

    def __init__(self, store: Path, fingerprint: str, scratch: Path | None = None) -> None:
        self._fingerprint = fingerprint
        self._beside = store / "prepared"
        self._scratch = scratch

    def arrays(
        self, group: str, key: Mapping[str, Any], build: Callable[[ArrayWriter], None]
    ) -> Arrays:
        """Arrays of a single group; see `groups`."""
        return self.groups({group: key}, lambda writers, _: build(writers[group]))[group]

    def groups(self, keys: Mapping[str, Mapping[str, Any]], build: Build) -> dict[str, Arrays]:
        """Arrays of some groups, read-only; missing ones are built first, together.

        Args:
            keys: Everything besides the store that a group's arrays depend on, by the group's
                readable name, which is part of its folder's name.
            build: Writes the arrays of the missing groups.

        Raises:
            StoreError: The arrays cannot be written, e.g. because the disk is full.
        """
        names = {group: f"{group}-{self._hash(key)}" for group, key in keys.items()}
        found = _found(self._beside, names)
        if found.keys() != names.keys():
            root = self._writable_root()
            found |= _found(root, _without(names, found))
            if found.keys() != names.keys():
                found |= _built(root, names, found, build)
        return found

    def _writable_root(self) -> Path:
        if self._scratch is not None:
            return self._scratch
        try:
            self._beside.mkdir(exist_ok=True)
        except OSError:
            return self._elsewhere()
        return self._beside if os.access(self._beside, os.W_OK) else self._elsewhere()

    def _elsewhere(self) -> Path:
        """A temporary folder of this user; refused if another user may write to it."""
        folder = Path(tempfile.gettempdir()) / f"prvr-prepared-{os.getuid()}"
        folder.mkdir(exist_ok=True, mode=0o700)
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise StoreError(
                f"{folder} is not yours alone, so its content cannot be trusted; remove it, or set "
                "TMPDIR to a folder of your own"
            )
        root = folder / self._fingerprint
        root.mkdir(exist_ok=True)
        return root

    def _hash(self, key: Mapping[str, Any]) -> str:
        content = {"version": CACHE_VERSION, "store": self._fingerprint, **key}
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _found(root: Path, names: Mapping[str, str]) -> dict[str, Arrays]:
    return {group: _mapped(root / name) for group, name in names.items() if is_whole(root / name)}


def _without(names: Mapping[str, str], found: Iterable[str]) -> dict[str, str]:
    return {group: name for group, name in names.items() if group not in found}


def _mapped(folder: Path) -> Arrays:
    return {path.stem: _mapped_file(path) for path in sorted(folder.glob("*.npy"))}


def _mapped_file(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise StoreError(
            f"{path} is not an array of numbers ({error}); remove the folder {path.parent}, it "
            "will be computed again"
        ) from error
    return array


def _built(
    root: Path, names: Mapping[str, str], found: Mapping[str, Arrays], build: Build
) -> dict[str, Arrays]:
    """Arrays of the groups that were not found; builds them, or waits for a process that does."""
    with exclusive(root / _LOCK):
        theirs = _found(root, _without(names, found))
        there = {**found, **theirs}
        missing = _without(names, there)
        if missing:
            _build({group: root / name for group, name in missing.items()}, there, build)
    return {**theirs, **{group: _mapped(root / name) for group, name in missing.items()}}


def _build(folders: Mapping[str, Path], found: Mapping[str, Arrays], build: Build) -> None:
    with ExitStack() as partials:
        try:
            made = {group: _partial(folder, partials) for group, folder in folders.items()}
            writers = {group: ArrayWriter(partial.path) for group, partial in made.items()}
            for writer in writers.values():
                partials.callback(writer.close)
            build(writers, found)
            for group, folder in folders.items():
                writers[group].finish()
                _publish(made[group].path, folder)
        except OSError as error:
            root = next(iter(folders.values())).parent
            reason = error.strerror or str(error)
            raise StoreError(
                f"cannot prepare features in {root}: {reason}; nothing was left behind"
            ) from error


def _partial(folder: Path, partials: ExitStack) -> PartialFolder:
    if not is_whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
    partial = PartialFolder(folder)
    partials.callback(partial.remove)
    partial.make()
    return partial


def _publish(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        # If the folder exists, another process was first: it holds the same arrays.
        if not folder.is_dir():
            raise
