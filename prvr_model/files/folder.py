"""A folder on any file system that pyarrow.fs opens: local, NFS, s3://.

A file appears whole or not at all. Locally it is written under a hidden name, flushed to disk and
renamed; an object store shows an object only when its upload is complete.

An S3 folder is `s3://bucket/path`, for servers other than Amazon's with
`?endpoint_override=host%3Aport&scheme=http&region=...`, or with the variable `AWS_ENDPOINT_URL`,
which pyarrow reads. Credentials come from where Amazon's tools take them: `AWS_ACCESS_KEY_ID` and
`AWS_SECRET_ACCESS_KEY`, a profile in `~/.aws`, or the role of the machine. They must not be in the
URI, which is kept in the study and in MLflow and shown in messages.

If a server refuses or is overloaded, pyarrow retries for 6 s; if no server answers, it gives up
after one to two minutes.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from prvr_model.errors import PrvrError
from prvr_model.files.durable import link_file, replace_file
from prvr_model.files.location import is_uri, uri_below

# `user:secret@` before the host; a colon before digits alone is a port.
_SECRET = re.compile(r"^(\w+)://[^/@:?#]*:(?!\d+/)[^@?#]*@")


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
            StorageError: The location is relative, of an unknown kind, or holds a secret.
        """
        text = str(location)
        if found := _SECRET.match(text):
            raise StorageError(
                f"{found[1]}://...: holds a password or secret key, and is shown and kept in many "
                "places; leave it out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use "
                "a profile or the machine's role"
            )
        if not is_uri(text) and not Path(text).is_absolute():
            raise StorageError(f"{text}: give an absolute path or a URI, not a relative path")
        try:
            filesystem, path = fs.FileSystem.from_uri(text)
        except (ValueError, OSError, ImportError, NotImplementedError) as error:
            raise StorageError(f"{text}: cannot be opened as a storage folder: {error}") from error
        if not path:
            raise StorageError(f"{text}: names no folder; give a bucket and a path in it")
        return cls(filesystem, path.rstrip("/") or path, text)

    @property
    def _is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, name: str) -> "Folder":
        """Folder below this one."""
        return Folder(self.filesystem, f"{self.path}/{name}", self.locate(name))

    def locate(self, name: str) -> str:
        """URI of something in the folder, options of the server included."""
        return uri_below(self.uri, name)

    def exists(self, name: str) -> bool:
        """Whether a file of this name is in the folder.

        Raises:
            StorageError: It cannot be found out.
        """
        try:
            info = self.filesystem.get_file_info(f"{self.path}/{name}")
        except OSError as error:
            raise StorageError(f"{self.locate(name)}: cannot be looked up: {error}") from error
        return bool(info.type == fs.FileType.File)

    def names(self) -> list[str]:
        """Names of the files in the folder, sorted; empty where the folder does not exist.

        Raises:
            StorageError: It cannot be found out.
        """
        return [info.base_name for info in self._infos()]

    def sizes(self) -> dict[str, int]:
        """Bytes of each file in the folder, by name; empty where the folder does not exist.

        Raises:
            StorageError: It cannot be found out.
        """
        return {info.base_name: int(info.size) for info in self._infos()}

    def read_bytes(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            StorageError: The file is missing or cannot be read.
        """
        try:
            with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream:
                return bytes(stream.read())
        except OSError as error:
            raise StorageError(f"{self.locate(name)}: cannot be read: {error}") from error

    def read_pieces(self, name: str, piece_bytes: int) -> Iterator[bytes]:
        """Content of a file, a piece at a time.

        Raises:
            StorageError: The file is missing or cannot be read.
        """
        try:
            with self.filesystem.open_input_file(f"{self.path}/{name}") as stream:
                while piece := stream.read(piece_bytes):
                    yield piece
        except OSError as error:
            raise StorageError(f"{self.locate(name)}: cannot be read: {error}") from error

    def write_bytes(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Write a file whole, replacing one of the same name.

        Args:
            name: Its name.
            content: What it will hold.
            durable: Whether it must survive a power cut of this machine, see `replace_file`.

        Raises:
            StorageError: The folder cannot be written, e.g. full or read-only; the earlier file
                is intact.
        """
        try:
            if self._is_local:
                replace_file(Path(self.path) / name, content, durable=durable)
            else:
                # In a thread of its own, where Ctrl-C does not stop it: closing an unfinished
                # stream would replace the old object by an empty one.
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(self._upload, name, content).result()
        except OSError as error:
            raise StorageError(f"{self.locate(name)}: cannot be written: {error}") from error

    def copy_from(self, source: "Folder", name: str) -> None:
        """Copy a file of another folder into this one, replacing one of the same name.

        On one disk the copy is a hard link, which takes no room. That is safe since files are
        replaced and never changed in place.

        Raises:
            StorageError: The file cannot be read, or cannot be written into this folder.
        """
        if self._is_local and source._is_local:
            here, there = (Path(folder.path) / name for folder in (self, source))
            if here.exists() and there.exists() and here.samefile(there):
                return
            with suppress(OSError):  # other disks, and file systems without links
                return link_file(there, here)
        self.write_bytes(name, source.read_bytes(name))

    def delete(self, name: str) -> None:
        """Delete a file.

        Raises:
            StorageError: The file is missing or cannot be deleted.
        """
        try:
            self.filesystem.delete_file(f"{self.path}/{name}")
        except OSError as error:
            raise StorageError(f"{self.locate(name)}: cannot be deleted: {error}") from error

    def remove_partial_files(self) -> None:
        """Remove half-written files of a process that was killed.

        Call it only if no other process writes into the folder. Object stores show no such files.
        """
        if self._is_local and Path(self.path).is_dir():
            for path in Path(self.path).glob(".*.partial"):
                path.unlink(missing_ok=True)

    def _infos(self) -> list[fs.FileInfo]:
        """Files in the folder, sorted by name."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        try:
            infos = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise StorageError(f"{self.uri}: cannot be listed: {error}") from error
        files = [info for info in infos if info.type == fs.FileType.File]
        return sorted(files, key=lambda info: info.base_name)

    def _upload(self, name: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(f"{self.path}/{name}") as stream:
            stream.write(content)
