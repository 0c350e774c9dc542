"""Arrays that depend on frozen features only, computed once per store and kept beside it.

Each group of arrays is a folder of .npy files named for a hash of what it depends on, the
store's fingerprint included, so nothing stale is ever read. A folder is built under another
name and renamed: it is there whole or not at all, and when two processes build the same one,
the first stays. Readers map the files, so all trials of a machine share one copy in memory.
Where the store is read-only, what it has is used and what it lacks goes to a temporary folder.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from prvr_model.errors import StoreError
from prvr_model.partial_folder import PartialFolder

# Raised when the content of any cached array changes for the same key.
CACHE_VERSION = 2

Arrays: TypeAlias = dict[str, np.ndarray]


class ArrayWriter:
    """Makes the arrays of a group in its folder, part by part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        """A mapped array of zeros to be filled in.

        Raises:
            OSError: The disk has no room for it.
        """
        path = self._folder / f"{name}.npy"
        if 0 in shape:
            np.save(path, np.zeros(shape, dtype))
            return np.zeros(shape, dtype)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        _reserve(path)
        return array

    def sync(self) -> None:
        """Bring everything to the disk."""
        for path in self._folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _reserve(path: Path) -> None:
    # A mapped file has holes at first; to fill one on a full disk kills the process (SIGBUS).
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


class FrozenCache:
    """Cache of one store.

    Args:
        store: Folder of the store.
        fingerprint: Fingerprint of its content.
    """

    def __init__(self, store: Path, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._beside = store / "prepared"

    def arrays(
        self, group: str, key: Mapping[str, Any], build: Callable[[ArrayWriter], None]
    ) -> Arrays:
        """Arrays of a group, read-only; built first where they are not there.

        Args:
            group: Readable name of the group, part of the folder's name.
            key: Everything besides the store that the arrays depend on.
            build: Writes the arrays.

        Raises:
            StoreError: They cannot be written, e.g. because the disk is full.
        """
        name = f"{group}-{self._hash(key)}"
        folder = self._beside / name
        if not folder.is_dir():
            folder = self._writable_root() / name
        if not folder.is_dir():
            _build(folder, build)
        return {
            path.stem: np.load(path, mmap_mode="r", allow_pickle=False)
            for path in sorted(folder.glob("*.npy"))
        }

    def _writable_root(self) -> Path:
        try:
            self._beside.mkdir(exist_ok=True)
        except OSError:
            return self._elsewhere()
        return self._beside if os.access(self._beside, os.W_OK) else self._elsewhere()

    def _elsewhere(self) -> Path:
        user = f"prvr-prepared-{os.getuid()}"
        root = Path(tempfile.gettempdir()) / user / self._fingerprint
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return root

    def _hash(self, key: Mapping[str, Any]) -> str:
        content = {"version": CACHE_VERSION, "store": self._fingerprint, **key}
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _build(folder: Path, build: Callable[[ArrayWriter], None]) -> None:
    root = folder.parent
    partial = PartialFolder(folder)
    try:
        partial.make()
        writer = ArrayWriter(partial.path)
        build(writer)
        writer.sync()
        partial.path.rename(folder)
    except OSError as error:
        # If the folder is there, another process was first: it holds the same arrays.
        if not folder.is_dir():
            reason = error.strerror or str(error)
            raise StoreError(
                f"cannot prepare features in {root}: {reason}; nothing was left behind"
            ) from error
    finally:
        partial.remove()
