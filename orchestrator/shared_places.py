"""Whether a worker, on whatever node, finds the data and the storage that the driver has.

A path that is there on every node but is another folder on each would be found out by the first
lost node only.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import PlaceError


@dataclass(frozen=True)
class SharedPlaces:
    """What all nodes must share.

    Args:
        store: Path of the feature store.
        fingerprint: Fingerprint of its content.
        storage: Folder of the sweep's trials: absolute path or URI.
        marker: Name of a file that the driver wrote there.
    """

    store: str
    fingerprint: str
    storage: str
    marker: str


@contextmanager
def marked_places(store: Path, fingerprint: str, storage: str) -> Iterator[SharedPlaces]:
    """The driver's places, with its marker in the storage for as long as the block runs.

    Raises:
        PlaceError: The storage cannot be written.
    """
    from prvr_model.storage import Folder, StorageError

    marker = f"shared-{uuid.uuid4().hex[:12]}"
    try:
        folder = Folder.open(storage)
        folder.write_bytes(marker, marker.encode())
    except StorageError as error:
        raise PlaceError(f"cannot use the storage for trials (--storage): {error}") from error
    try:
        yield SharedPlaces(str(store), fingerprint, storage, marker)
    finally:
        with suppress(StorageError):
            folder.delete(marker)


def problem_here(places: SharedPlaces) -> str | None:
    """What keeps trials from running on this machine; None: nothing."""
    return _store_problem(places) or _storage_problem(places)


def _store_problem(places: SharedPlaces) -> str | None:
    from prvr_model.errors import StoreError
    from prvr_model.store_format import read_manifest

    advice = (
        "put the store on a file system that all nodes share and name it by data.store; generated "
        "data lies in the home: --home on such a file system"
    )
    try:
        found = read_manifest(Path(places.store)).fingerprint
    except StoreError as error:
        return f"data: {error}; {advice}"
    if found != places.fingerprint:
        return (
            f"data: {places.store} has fingerprint {found[:12]}, the driver's has "
            f"{places.fingerprint[:12]}; {advice}"
        )
    return None


def _storage_problem(places: SharedPlaces) -> str | None:
    from prvr_model.storage import Folder, StorageError

    advice = "set --storage to a folder that all nodes share and may write, or to s3://..."
    own = f"{places.marker}-{uuid.uuid4().hex[:12]}"
    try:
        folder = Folder.open(places.storage)
        if not folder.exists(places.marker):
            return f"storage: {places.storage} is not the driver's folder of this name; {advice}"
        folder.write_bytes(own, own.encode())
        intact = folder.read_bytes(own) == own.encode()
        folder.delete(own)
    except StorageError as error:
        return f"storage: {error}; {advice}"
    return None if intact else f"storage: {places.storage} gives back other bytes; {advice}"
