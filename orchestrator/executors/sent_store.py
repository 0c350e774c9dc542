"""A small store that travels with a sweep, through Ray's object store.

The driver puts its pieces there once; a node without a copy fetches them and need not see the
driver's disk. The driver owns the pieces: they are gone when it ends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from prvr_model.errors import StoreError
from prvr_model.store.format import parse_manifest
from prvr_model.store.sources import FolderFiles


@dataclass(frozen=True)
class SentStore:
    """The pieces of a store, see `StoreFiles`.

    Args:
        place: Name of the store in messages.
        manifest: Content of its manifest's file.
        references: References of each file's pieces.
    """

    place: str
    manifest: bytes
    references: Mapping[str, tuple[Any, ...]]

    def manifest_bytes(self) -> bytes:
        """See `StoreFiles`."""
        return self.manifest

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `StoreFiles`."""
        for reference in self.references[name]:
            try:
                piece: bytes = ray.get(reference)
            except ray.exceptions.RayError as error:
                raise StoreError(
                    f"{self.place}: its pieces cannot be fetched from Ray's object store "
                    f"({type(error).__name__}); is the sweep's driver still running?"
                ) from error
            yield piece


def send_store(path: Path) -> SentStore:
    """Put a store into the object store of this node; Ray must run already.

    Args:
        path: Absolute path of the store.

    Raises:
        StoreError: It cannot be read.
    """
    files = FolderFiles.open(str(path))
    manifest = files.manifest_bytes()
    names = parse_manifest(manifest, str(path)).files
    references = {name: tuple(map(ray.put, files.pieces(name))) for name in names}
    return SentStore(f"{path} of the sweep's driver", manifest, references)
