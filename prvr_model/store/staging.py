"""Copies a remote store to this machine, once for all processes.

A copy is named by its fingerprint, so that all sweeps on the same data share one:

    <cache>/<fingerprint>            a whole, verified copy; no process changes or deletes it
    <cache>/<fingerprint>.partial    a copy in the making; the next try begins with an empty one
    <cache>/<fingerprint>.lock       exists while a process copies; the others wait

The folder gets its final name after its content was read again and found to match the manifest.
The cache lies on a disk of the machine: copies are memory-mapped, and prepared features are
written beside them.
"""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from prvr_model.errors import StoreError
from prvr_model.files.durable import sync_file, sync_folder
from prvr_model.files.file_lock import exclusive
from prvr_model.files.partial_folder import nearest_folder
from prvr_model.store.format import (
    KINDS,
    MANIFEST_NAME,
    Manifest,
    file_name,
    fingerprint_of,
    parse_manifest,
    size_text,
)
from prvr_model.store.reader import FeatureStore
from prvr_model.store.sources import StoreFiles

CACHE_VARIABLE = "PRVR_SWEEP_CACHE"
"""Environment variable with the folder of copies, absolute."""

# A fingerprint becomes the name of a folder, so anything but a digest is refused.
_FINGERPRINT = re.compile("[0-9a-f]{64}")
# A copy that takes minutes reports its progress this many times.
_TELLS = 10
_LONG_COPY_BYTES = 2**30

Say: TypeAlias = Callable[[str], None]
"""Takes a line for the user."""


def _log(message: str) -> None:
    logging.getLogger(__name__).info(message)


def cache_folder(fallback: str | None = None) -> Path:
    """Folder of this machine's copies; it need not exist yet.

    The machine's own `PRVR_SWEEP_CACHE` comes first, so that machines with different disks can have
    different folders; then the value that the sweep's driver has; else a folder of the user among
    temporary files.

    Args:
        fallback: The driver's folder; None if it named none.

    Raises:
        StoreError: The folder is not an absolute path.
    """
    named = os.environ.get(CACHE_VARIABLE) or fallback
    if not named:
        return _own_temporary()
    if not Path(named).is_absolute():
        raise StoreError(f"{CACHE_VARIABLE} is {named!r}; allowed: an absolute path")
    return Path(named)


def _own_temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"prvr-stores-{os.getuid()}"


def staged_store(files: StoreFiles, fingerprint: str, cache: Path, say: Say = _log) -> Path:
    """Path of a verified copy of a store on this machine; made first if it is missing.

    Args:
        files: The store's files.
        fingerprint: Fingerprint that its content must have.
        cache: Folder of copies, see `cache_folder`.
        say: Takes a line for the user when a step takes long.

    Raises:
        StoreError: The store is missing, damaged or has another fingerprint, or there is no room
            for it. What was copied is removed.
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise StoreError(f"{fingerprint!r} is not a fingerprint of a store")
    target = cache / fingerprint
    if _is_whole(target, fingerprint):
        return target
    _make_cache(cache)
    lock = cache / f"{fingerprint}.lock"
    waiting = f"another process copies {files.place}; waiting for it"
    with exclusive(lock, lambda: say(waiting)) as is_held:
        if not is_held:
            raise StoreError(
                f"{lock} cannot be locked; set {CACHE_VARIABLE} to a folder on a disk of this "
                "machine that can be written"
            )
        if not _is_whole(target, fingerprint):
            _Copy(files, fingerprint, target, say).make()
    return target


def room_problem(manifest: Manifest, cache: Path) -> str | None:
    """Why this machine's disk has no room for a copy; None if it has, or if a copy exists."""
    target = cache / manifest.fingerprint
    if _is_whole(target, manifest.fingerprint):
        return None
    # An unfinished or damaged copy gives its room to the next one.
    reused = _folder_bytes(_partial(target)) + _folder_bytes(target)
    needed = max(0, _total_bytes(manifest) - reused)
    free = shutil.disk_usage(nearest_folder(cache)).free
    if needed <= free:
        return None
    others = [_folder_bytes(copy) for copy in _copies(cache) if copy.name != target.name]
    return (
        f"{cache} has room for {size_text(free)}, the copy takes {size_text(needed)} more; make "
        f"room (copies of other stores in it take {size_text(sum(others))}: remove those that no "
        f"sweep uses) or set {CACHE_VARIABLE} to another folder"
    )


class _Copy:
    """One copy in the making; its lock is held."""

    def __init__(self, files: StoreFiles, fingerprint: str, target: Path, say: Say) -> None:
        self._files = files
        self._fingerprint = fingerprint
        self._target = target
        self._partial = _partial(target)
        self._say = say
        self._total_bytes = 0
        self._done_bytes = 0

    def make(self) -> None:
        content, manifest = self._source_manifest()
        if problem := room_problem(manifest, self._target.parent):
            raise StoreError(f"no room for {self._files.place}: {problem}")
        try:
            self._begin()
            self._copy_all(content, manifest)
            self._refuse_damaged(manifest)
            self._publish()
        except OSError as error:
            raise StoreError(
                f"cannot copy {self._files.place} to {self._partial}: "
                f"{error.strerror or error}; what was copied is removed, and the next try begins "
                "anew"
            ) from error
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _source_manifest(self) -> tuple[bytes, Manifest]:
        content = self._files.manifest_bytes()
        manifest = parse_manifest(content, self._files.place)
        dims = (manifest.video_dim, manifest.text_dim)
        digests = {name: value.content_sha256 for name, value in manifest.files.items()}
        found = fingerprint_of(dims, (manifest.video_dtype, manifest.text_dtype), digests)
        if manifest.fingerprint != self._fingerprint:
            raise StoreError(
                f"{self._files.place} has fingerprint {manifest.fingerprint}, the sweep was "
                f"planned on {self._fingerprint}: the data was changed. Launch a new sweep on it, "
                "or put the old data back"
            )
        if found != self._fingerprint:
            raise StoreError(
                f"{MANIFEST_NAME} of {self._files.place} is damaged: it says fingerprint "
                f"{self._fingerprint}, what it lists has {found}; import the data again"
            )
        return content, manifest

    def _begin(self) -> None:
        """Make an empty partial folder; removes a damaged copy and what a killed process left."""
        if self._target.exists():
            self._say(f"{self._target} is damaged; it is copied again")
        for folder in (self._target, self._partial):
            if folder.exists():
                shutil.rmtree(folder)
        self._partial.mkdir(mode=0o700)

    def _copy_all(self, content: bytes, manifest: Manifest) -> None:
        self._total_bytes = _total_bytes(manifest)
        self._say(f"copying {self._files.place} ({size_text(self._total_bytes)}) to {self._target}")
        self._write(MANIFEST_NAME, [content])
        for name, record in manifest.files.items():
            self._write(name, self._pieces(name, record.size_bytes))

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        with (self._partial / name).open("xb") as stream:
            stream.writelines(pieces)
            sync_file(stream)

    def _pieces(self, name: str, size: int) -> Iterator[bytes]:
        """Content of a file, of the size that the manifest says."""
        length = 0
        for piece in self._files.pieces(name):
            length += len(piece)
            if length > size:
                break
            yield piece
            self._tell(len(piece))
        if length != size:
            found = "more" if length > size else f"only {length}"
            raise StoreError(
                f"{name} of {self._files.place} has {found} bytes instead of {size}; the store was "
                "changed or is damaged: copy it to its location again"
            )

    def _tell(self, more_bytes: int) -> None:
        before, self._done_bytes = self._done_bytes, self._done_bytes + more_bytes
        step = max(1, self._total_bytes // _TELLS)
        if self._total_bytes >= _LONG_COPY_BYTES and before // step < self._done_bytes // step:
            done, total = size_text(self._done_bytes), size_text(self._total_bytes)
            self._say(f"copied {done} of {total} of {self._files.place}")

    def _refuse_damaged(self, manifest: Manifest) -> None:
        store = FeatureStore.open(self._partial)
        if names := [name for split in manifest.splits for name in _damaged_of(store, split)]:
            # If the source was changed meanwhile, this error says so.
            self._source_manifest()
            raise StoreError(
                f"{self._files.place} is damaged: the content of {', '.join(names)} is not what "
                f"its {MANIFEST_NAME} says; copy the store to its location again"
            )

    def _publish(self) -> None:
        sync_folder(self._partial)
        self._partial.rename(self._target)
        sync_folder(self._target.parent)


def _is_whole(target: Path, fingerprint: str) -> bool:
    """Whether a copy exists; checks sizes of files only, as whenever a store is opened."""
    try:
        return FeatureStore.open(target).manifest.fingerprint == fingerprint
    except StoreError:
        return False


def _damaged_of(store: FeatureStore, split: str) -> list[str]:
    try:
        return store.damaged_files(split)
    except StoreError:
        return [file_name(split, kind) for kind in KINDS]


def _make_cache(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = cache.stat().st_uid
    except OSError as error:
        raise StoreError(
            f"cannot make {cache} for copies of stores: {error.strerror}; set {CACHE_VARIABLE} to "
            "a folder that can be written"
        ) from error
    # Any user can make a folder of this name among temporary files.
    if cache == _own_temporary() and owner != os.getuid():
        raise StoreError(
            f"{cache} belongs to another user; set {CACHE_VARIABLE} to a folder of your own"
        )


def _total_bytes(manifest: Manifest) -> int:
    return sum(record.size_bytes for record in manifest.files.values())


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def _copies(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()] if cache.exists() else []


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
