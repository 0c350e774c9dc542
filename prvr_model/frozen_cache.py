"""Arrays that depend on frozen features only, computed once per store and kept beside it.

Each group of arrays is a folder of .npy files named for a hash of what it depends on, the
store's fingerprint included, so nothing stale is ever read. A folder is built under another
name and renamed: it is there whole or not at all, and when two processes build the same one,
the first stays. Readers map the files, so all trials of a machine share one copy in memory.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

# Raised when the content of any cached array changes for the same key.
CACHE_VERSION = 1

Arrays: TypeAlias = dict[str, np.ndarray]


class ArrayWriter:
    """Makes the arrays of a group in its folder, part by part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        """A mapped array of zeros to be filled in."""
        path = self._folder / f"{name}.npy"
        if 0 in shape:
            np.save(path, np.zeros(shape, dtype))
            return np.zeros(shape, dtype)
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


class FrozenCache:
    """Cache of one store; falls back to a folder for temporary files where the store is read-only.

    Args:
        store: Folder of the store.
        fingerprint: Fingerprint of its content.
    """

    def __init__(self, store: Path, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._root = store / "prepared"
        try:
            self._root.mkdir(exist_ok=True)
            writable = os.access(self._root, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            user = f"prvr-prepared-{os.getuid()}"
            self._root = Path(tempfile.gettempdir()) / user / fingerprint
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def arrays(
        self, group: str, key: Mapping[str, Any], build: Callable[[ArrayWriter], None]
    ) -> Arrays:
        """Arrays of a group, read-only; built first where they are not there.

        Args:
            group: Readable name of the group, part of the folder's name.
            key: Everything besides the store that the arrays depend on.
            build: Writes the arrays.
        """
        folder = self._root / f"{group}-{self._hash(key)}"
        if not folder.is_dir():
            self._build(folder, build)
        return {
            path.stem: np.load(path, mmap_mode="r", allow_pickle=False)
            for path in sorted(folder.glob("*.npy"))
        }

    def _hash(self, key: Mapping[str, Any]) -> str:
        content = {"version": CACHE_VERSION, "store": self._fingerprint, **key}
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _build(self, folder: Path, build: Callable[[ArrayWriter], None]) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=self._root))
        try:
            build(ArrayWriter(temporary))
            # A temporary folder is its owner's alone; a store may serve several users.
            temporary.chmod(self._root.stat().st_mode & 0o777)
            temporary.rename(folder)
        except OSError:
            # Another process was first: its folder holds the same arrays.
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
