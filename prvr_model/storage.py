"""A folder on any file system that pyarrow.fs opens: local, NFS, s3://.

A file appears whole or not at all. Locally it is written beside its place, flushed to disk and
renamed; an object store shows an object only when its upload is complete.
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from prvr_model.durable import sync_folder
from prvr_model.errors import PrvrError


class StorageError(PrvrError):
    """A folder's URI cannot be opened or a file in it cannot be read or written."""


@dataclass(frozen=True)
class Folder:
    """A folder by URI; it need not exist before something is written into it."""

    filesystem: fs.FileSystem
    path: str
    uri: str

    @classmethod
    def open(cls, location: str | Path) -> "Folder":
        """Folder of an absolute local path or a URI that pyarrow.fs knows.

        Raises:
            StorageError: The location is relative or of an unknown kind.
        """
        text = str(location)
        if "://" not in text and not Path(text).is_absolute():
            raise StorageError(f"{text}: give an absolute path or a URI, not a relative path")
        try:
            filesystem, path = fs.FileSystem.from_uri(text)
        except (ValueError, OSError) as error:
            raise StorageError(f"{text}: cannot be opened as a storage folder: {error}") from error
        if not path:
            raise StorageError(f"{text}: names no folder; give a bucket and a path in it")
        return cls(filesystem, path, text)

    @property
    def _is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, name: str) -> "Folder":
        """Folder below this one."""
        return Folder(self.filesystem, f"{self.path}/{name}", f"{self.uri.rstrip('/')}/{name}")

    def exists(self, name: str) -> bool:
        """Whether a file of this name is in the folder."""
        info = self.filesystem.get_file_info(f"{self.path}/{name}")
        return bool(info.type == fs.FileType.File)

    def names(self) -> list[str]:
        """Names of the files in the folder, sorted; empty where the folder does not exist."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == fs.FileType.File)

    def read_bytes(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            StorageError: The file is missing or cannot be read.
        """
        try:
            with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream:
                return bytes(stream.read())
        except OSError as error:
            raise StorageError(f"{self.uri}/{name}: cannot be read: {error}") from error

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file whole, in place of one of the same name.

        Raises:
            StorageError: The folder cannot be written, e.g. full or read-only; a file that was
                there before is intact.
        """
        try:
            if self._is_local:
                _write_local(Path(self.path) / name, content)
            else:
                with self.filesystem.open_output_stream(f"{self.path}/{name}") as stream:
                    stream.write(content)
        except OSError as error:
            raise StorageError(f"{self.uri}/{name}: cannot be written: {error}") from error


def _write_local(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`: its files are their owner's alone, and a team shares its storage.
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
