"""Where the files of a store are read from: a folder by path or URI, or another source."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prvr_model.errors import StoreError
from prvr_model.files.folder import Folder, StorageError
from prvr_model.files.location import is_uri
from prvr_model.store.format import MANIFEST_NAME, Manifest, parse_manifest, read_manifest

PIECE_BYTES = 8 * 2**20
"""Bytes that are read at a time, enough to make a request to an object store worthwhile."""


class StoreFiles(Protocol):
    """The files of a store, for a process that copies it."""

    @property
    def place(self) -> str:
        """Its name in messages, e.g. its URI."""

    def manifest_bytes(self) -> bytes:
        """Content of the manifest's file.

        Raises:
            StoreError: There is none, or it cannot be read.
        """

    def pieces(self, name: str) -> Iterator[bytes]:
        """Content of a file, a piece at a time.

        Raises:
            StoreError: It is missing or cannot be read.
        """


@dataclass(frozen=True)
class FolderFiles:
    """A store in a folder that pyarrow.fs opens."""

    folder: Folder

    @classmethod
    def open(cls, location: str) -> "FolderFiles":
        """The store at a URI or an absolute path.

        Raises:
            StoreError: The location cannot be opened.
        """
        try:
            return cls(Folder.open(location))
        except StorageError as error:
            raise StoreError(f"data: {error}") from error

    @property
    def place(self) -> str:
        """The location."""
        return self.folder.uri

    def manifest_bytes(self) -> bytes:
        """See `StoreFiles`."""
        try:
            return self.folder.read_bytes(MANIFEST_NAME)
        except StorageError as error:
            raise StoreError(
                f"there is no feature store to be read at {self.place}: {error}; copy all files of "
                "an imported one to it"
            ) from error

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `StoreFiles`."""
        try:
            yield from self.folder.read_pieces(name, PIECE_BYTES)
        except StorageError as error:
            raise StoreError(f"data: {error}") from error


def manifest_at(location: str) -> Manifest:
    """Manifest of the store at a URI or a path; reads no other file.

    Raises:
        StoreError: There is no store, or it cannot be read.
    """
    if not is_uri(location):
        return read_manifest(Path(location))
    return parse_manifest(FolderFiles.open(location).manifest_bytes(), location)
