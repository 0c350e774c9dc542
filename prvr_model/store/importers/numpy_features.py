"""Reads features from a folder with one `.npy` or `.npz` file per video or caption.

Pickles are never read: an array of objects has a header, and is refused by its type.
"""

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from prvr_model.store.importers.features import Header, as_rows, header_of
from prvr_model.store.importers.foreign_files import HEAD_BYTES, foreign_kind
from prvr_model.store.importers.problems import ProblemError

NUMPY_SUFFIXES = (".npy", ".npz")

_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
_MAGIC = b"\x93NUMPY"


def is_numpy_folder(path: Path) -> bool:
    """Whether a folder has a NumPy file, itself or in one of its first folders."""
    patterns = (f"{deep}*{suffix}" for deep in ("", "*/") for suffix in NUMPY_SUFFIXES)
    return path.is_dir() and any(True for pattern in patterns for _ in path.glob(pattern))


@dataclass(frozen=True)
class NumpyFolder:
    """Features by the path of their file below a folder, without its ending.

    Args:
        path: The folder.
        member: Array of an `.npz` file that is meant; None: the only one.
        takes_vectors: Whether (D,) is an item of one row.
    """

    path: Path
    member: str | None = None
    takes_vectors: bool = False

    @property
    def label(self) -> str:
        """See `FeatureSource`."""
        return self.path.name

    def names(self) -> Iterator[str]:
        """See `FeatureSource`."""
        for folder, _, files in os.walk(self.path):
            for name in sorted(files):
                file = Path(folder) / name
                if file.suffix in NUMPY_SUFFIXES and not name.startswith("."):
                    yield file.relative_to(self.path).as_posix().removesuffix(file.suffix)

    def find(self, candidates: Iterable[str]) -> str | None:
        """See `FeatureSource`; names that lead out of the folder are not there."""
        return next((name for name in candidates if self._file(name)), None)

    def outline(self, name: str) -> str:
        """See `FeatureSource`."""
        return f"an array of shape {self.header(name).shape}"

    def header(self, key: str) -> Header:
        """See `FeatureSource`; reads a file's first bytes."""
        with self._opened(key) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
            return header_of(shape, dtype, self.takes_vectors)

    def read(self, key: str) -> np.ndarray:
        """See `FeatureSource`."""
        with self._opened(key) as stream:
            return as_rows(np.lib.format.read_array(stream, allow_pickle=False))

    def _file(self, name: str) -> Path | None:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\0" in name:
            return None
        files = (self.path / f"{name}{suffix}" for suffix in NUMPY_SUFFIXES)
        try:
            return next((file for file in files if file.is_file()), None)
        except OSError:
            # No file has a name of that length.
            return None

    @contextmanager
    def _opened(self, key: str) -> Iterator[IO[bytes]]:
        """The bytes of an item's `.npy` file, which may lie in an archive."""
        file = self._file(key)
        assert file is not None, "keys are those that were found"
        where = f"{self.label}/{file.relative_to(self.path)}"
        try:
            with file.open("rb") as stream:
                head = stream.read(HEAD_BYTES)
                stream.seek(0)
                if not zipfile.is_zipfile(stream):
                    if not head.startswith(_MAGIC):
                        raise ProblemError("not a NumPy file", f"{where}: {_kind(file, head)}")
                    stream.seek(0)
                    yield stream
                    return
                with (
                    zipfile.ZipFile(stream) as archive,
                    archive.open(self._member(where, archive.namelist())) as array,
                ):
                    yield array
        except _DAMAGE as error:
            reason = f"{where} cannot be read ({error})"
            raise ProblemError("unreadable features", reason) from error

    def _member(self, where: str, names: Sequence[str]) -> str:
        wanted = f"{self.member}.npy"
        if wanted in names:
            return wanted
        if len(names) == 1 and self.member is None:
            return names[0]
        shown = ", ".join(repr(name.removesuffix(".npy")) for name in names) or "none"
        expected = f"one named {self.member!r}" if self.member else "a single one"
        raise ProblemError("no array", f"{where} holds the arrays {shown}, expected {expected}")


def _kind(file: Path, head: bytes) -> str:
    return foreign_kind(file, head) or "it is damaged from its first bytes on, or another kind"


MAX_UNEVEN_ROWS = 2
"""Encoders that cut a video differently disagree in its last rows; more is another rate."""


@dataclass(frozen=True)
class ColumnFeatures:
    """Several kinds of features of the same rows, side by side; the shortest sets the length."""

    kinds: Sequence[NumpyFolder]

    @property
    def label(self) -> str:
        """See `FeatureSource`."""
        return "+".join(kind.label for kind in self.kinds)

    def names(self) -> Iterator[str]:
        """See `FeatureSource`."""
        return self.kinds[0].names()

    def find(self, candidates: Iterable[str]) -> str | None:
        """See `FeatureSource`."""
        return next(
            (name for name in candidates if any(kind.find([name]) for kind in self.kinds)), None
        )

    def outline(self, name: str) -> str:
        """See `FeatureSource`."""
        return f"an array of shape {self.header(name).shape}"

    def header(self, key: str) -> Header:
        """See `FeatureSource`."""
        if lacking := [kind.label for kind in self.kinds if kind.find([key]) is None]:
            raise ProblemError("missing key", f"{key!r} is not in {', '.join(lacking)}")
        headers = [kind.header(key) for kind in self.kinds]
        rows = [header.num_rows for header in headers if header.dim is not None]
        dims = [header.dim for header in headers if header.dim is not None]
        if len(rows) < len(headers):
            return next(header for header in headers if header.dim is None)
        lengths = [count or 0 for count in rows]
        if max(lengths) - min(lengths) > MAX_UNEVEN_ROWS:
            shown = ", ".join(
                f"{count} in {kind.label}" for count, kind in zip(lengths, self.kinds, strict=True)
            )
            raise ProblemError("uneven features", f"{key!r} has rows of other rates: {shown}")
        dtype = np.result_type(*(header.dtype for header in headers))
        return Header((min(lengths), sum(dims)), dtype)

    def read(self, key: str) -> np.ndarray:
        """See `FeatureSource`."""
        arrays = [kind.read(key) for kind in self.kinds]
        length = min(map(len, arrays))
        return np.concatenate([array[:length] for array in arrays], axis=1)


@dataclass(frozen=True)
class PieceFeatures:
    """Features of videos whose pieces have features of their own, one after the other.

    Args:
        pieces: Features by piece.
        of_video: Names of a video's pieces in their order.
    """

    pieces: ColumnFeatures
    of_video: dict[str, list[str]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """See `FeatureSource`."""
        return self.pieces.label

    def names(self) -> Iterator[str]:
        """See `FeatureSource`: videos, and pieces of none."""
        used = {piece for pieces in self.of_video.values() for piece in pieces}
        yield from self.of_video
        yield from (name for name in self.pieces.names() if name not in used)

    def find(self, candidates: Iterable[str]) -> str | None:
        """See `FeatureSource`."""
        return next(
            (name for name in candidates if self.pieces.find(self.of_video.get(name, []))), None
        )

    def outline(self, name: str) -> str:
        """See `FeatureSource`."""
        return f"a video of {len(self.of_video.get(name, [name]))} pieces"

    def header(self, key: str) -> Header:
        """See `FeatureSource`."""
        headers = [self.pieces.header(piece) for piece in self.of_video[key]]
        dims = {header.dim for header in headers}
        if len(dims) > 1 or None in dims:
            shapes = ", ".join(str(header.shape) for header in headers)
            raise ProblemError(
                "wrong dimensions", f"{self.label}: pieces of {key!r} have the shapes {shapes}"
            )
        rows = sum(header.num_rows or 0 for header in headers)
        dtype = np.result_type(*(header.dtype for header in headers))
        return Header((rows, headers[0].shape[-1]), dtype)

    def read(self, key: str) -> np.ndarray:
        """See `FeatureSource`."""
        return np.concatenate([self.pieces.read(piece) for piece in self.of_video[key]])
