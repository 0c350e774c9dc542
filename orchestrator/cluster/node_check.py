"""Whether a worker, on whatever node, finds the driver's data and storage.

Small data need not be on the nodes: it is sent. Data at a URI is copied to each node, which must
have room for it.

A marker file shows whether a path is the same folder on all nodes. Without it, a path that is
another folder on each node would be noticed only when a node is lost.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.base.errors import LocationError

if TYPE_CHECKING:
    from prvr_model.store.format import Manifest


SENT_STORE_LIMIT_BYTES = 256 * 2**20
"""Size up to which a store travels to the nodes with the sweep.

All of it stays in the memory of Ray's object store on the driver's node while the sweep runs, and
each node fetches it from there: a few per cent of a small head's memory, and seconds at a gigabit.
"""


@dataclass(frozen=True)
class SharedData:
    """The data that all nodes must find, or can be sent.

    Args:
        store: Absolute path or URI of the feature store.
        fingerprint: Fingerprint of its content.
        is_small: Whether it can travel with the sweep.
        cache: The driver's folder for copies, used on nodes that set none; None: not set either.
    """

    store: str
    fingerprint: str
    is_small: bool = False
    cache: str | None = None

    @classmethod
    def of(cls, store: str, manifest: "Manifest") -> "SharedData":
        """The data as the driver knows it."""
        from prvr_model.files.location import is_uri
        from prvr_model.store.staging import CACHE_VARIABLE

        size = sum(path.size_bytes for path in manifest.files.values())
        is_small = not is_uri(store) and size <= SENT_STORE_LIMIT_BYTES
        return cls(store, manifest.fingerprint, is_small, os.environ.get(CACHE_VARIABLE))


@dataclass(frozen=True)
class SharedLocations:
    """What all nodes must share.

    Args:
        data: The data.
        storage: Folder of the sweep's trials: absolute path or URI.
        marker: Name of a file that the driver wrote there.
    """

    data: SharedData
    storage: str
    marker: str


@dataclass(frozen=True)
class Look:
    """What a node found.

    Args:
        problem: Why trials cannot run on the node; None: they can.
        lacks_data: Whether the data must be sent to the node.
    """

    problem: str | None
    lacks_data: bool = False


@contextmanager
def marked_locations(data: SharedData, storage: str) -> Iterator[SharedLocations]:
    """The driver's locations, with its marker in the storage while the block runs.

    Raises:
        LocationError: The storage cannot be written.
    """
    from prvr_model.files.folder import Folder, StorageError

    marker = f"shared-{uuid.uuid4().hex[:12]}"
    try:
        folder = Folder.open(storage)
        folder.write_bytes(marker, marker.encode())
    except StorageError as error:
        raise LocationError(f"cannot use the storage for trials (--storage): {error}") from error
    try:
        yield SharedLocations(data, storage, marker)
    finally:
        with suppress(StorageError):
            folder.delete(marker)


def look_here(locations: SharedLocations) -> Look:
    """What this machine finds at the locations."""
    data = _data_problem(locations.data)
    storage = _storage_problem(locations)
    if data and locations.data.is_small:
        return Look(storage, lacks_data=True)
    return Look(data or storage)


def _data_problem(data: SharedData) -> str | None:
    from prvr_model.errors import StoreError
    from prvr_model.files.location import is_uri
    from prvr_model.store.sources import manifest_at
    from prvr_model.store.staging import cache_folder, room_problem

    advice = _URI_ADVICE if is_uri(data.store) else _PATH_ADVICE
    try:
        found = manifest_at(data.store)
        if found.fingerprint != data.fingerprint:
            return (
                f"data: {data.store} has fingerprint {found.fingerprint[:12]}, the driver's has "
                f"{data.fingerprint[:12]}; {advice}"
            )
        problem = room_problem(found, cache_folder(data.cache)) if is_uri(data.store) else None
    except StoreError as error:
        return f"data: {error}; {advice}"
    return problem and f"data: {problem}"


_URI_ADVICE = (
    "each node reads it with its own credentials: the machine's role, a profile, or "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where Ray was started"
)
_PATH_ADVICE = (
    "put the store on a file system that all nodes share and name it by data.store, or into an "
    "object store and name it by its URI (data: s3://...); a store of up to "
    f"{SENT_STORE_LIMIT_BYTES >> 20} MiB would travel with the sweep"
)


def _storage_problem(locations: SharedLocations) -> str | None:
    from prvr_model.files.folder import Folder, StorageError

    advice = "set --storage to a folder that all nodes share and may write, or to s3://..."
    own = f"{locations.marker}-{uuid.uuid4().hex[:12]}"
    try:
        folder = Folder.open(locations.storage)
        if not folder.exists(locations.marker):
            return f"storage: {locations.storage} is not the driver's folder of this name; {advice}"
        folder.write_bytes(own, own.encode())
        intact = folder.read_bytes(own) == own.encode()
        folder.delete(own)
    except StorageError as error:
        return f"storage: {error}; {advice}"
    return None if intact else f"storage: {locations.storage} returns other bytes; {advice}"
