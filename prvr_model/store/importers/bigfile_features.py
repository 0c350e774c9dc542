"""Reads features from a "BigFile": the rows of all frames in one binary file, with an index.

    shape.txt            "N D"
    id.txt               N names of frames, a line each or all in one
    feature.bin          N rows of D little-endian float32
    video2frames.txt     a Python dictionary: names of frames by video, in their order

Texts are UTF-8 or ISO-8859-1. A video's rows need not lie side by side. Source: files as their
authors released them.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from prvr_model.store.format import size_text
from prvr_model.store.importers.features import Header
from prvr_model.store.importers.problems import ProblemError, Problems

BIN, SHAPE, IDS, FRAMES = "feature.bin", "shape.txt", "id.txt", "video2frames.txt"

MAX_INDEX_BYTES = 256 * 2**20
"""Longest text of an index; TVR's 1.5 million frames have 60 MB. Twice its size is in memory."""

_ROW_TYPE = np.dtype("<f4")

# A video and its frames. Each is evaluated by itself: as one expression, a million names would
# take a gigabyte. The quantifiers never go back, so that a damaged file takes no longer.
_STRING = r"(?:'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\")"
_ENTRY = re.compile(
    rf"\s*+(u?{_STRING}\s*+:\s*+[\[(](?:[^\[\]()'\"]++|{_STRING})*+[\])])\s*+(,|\}})", re.DOTALL
)
_EMPTY_END = re.compile(r"\s*+\}")


def is_bigfile(path: Path) -> bool:
    """Whether a folder holds a BigFile."""
    return (path / BIN).is_file() and (path / SHAPE).is_file()


@dataclass(frozen=True)
class BigFile:
    """Features by video; reads one video at a time.

    Args:
        label: Its name in messages.
        dim: Dimension of a row.
        rows: For each video its frames' rows in the file; -1: the frame is not in id.txt.
        file: The rows.
    """

    label: str
    dim: int
    rows: dict[str, np.ndarray]
    file: BinaryIO

    def names(self) -> Iterator[str]:
        """See `FeatureSource`."""
        return iter(self.rows)

    def find(self, candidates: Iterable[str]) -> str | None:
        """See `FeatureSource`."""
        return next((name for name in candidates if name in self.rows), None)

    def outline(self, name: str) -> str:
        """See `FeatureSource`."""
        return f"a video of {len(self.rows[name])} frames"

    def header(self, key: str) -> Header:
        """See `FeatureSource`."""
        rows = self.rows[key]
        if missing := int(np.count_nonzero(rows < 0)):
            raise ProblemError(
                "missing frames",
                f"{self.label}: {missing} of the {len(rows)} frames of {key!r} in {FRAMES} are not "
                f"in {IDS}",
            )
        return Header((len(rows), self.dim), _ROW_TYPE)

    def read(self, key: str) -> np.ndarray:
        """See `FeatureSource`; reads each run of neighbouring rows at once."""
        rows = self.rows[key]
        order = np.argsort(rows, kind="stable")
        ends = np.flatnonzero(np.diff(rows[order]) != 1) + 1
        features = np.empty((len(rows), self.dim), _ROW_TYPE)
        for run in np.split(order, ends):
            features[run] = self._read_run(int(rows[run[0]]), len(run))
        return features

    def _read_run(self, first: int, count: int) -> np.ndarray:
        row_bytes = self.dim * _ROW_TYPE.itemsize
        try:
            self.file.seek(first * row_bytes)
            content = self.file.read(count * row_bytes)
        except OSError as error:
            raise ProblemError(
                "unreadable features", f"{self.label}/{BIN}: {error.strerror}"
            ) from error
        if len(content) < count * row_bytes:
            raise ProblemError("truncated file", f"{self.label}/{BIN} became shorter")
        return np.frombuffer(content, _ROW_TYPE).reshape(count, self.dim)


@contextmanager
def open_bigfile(folder: Path, problems: Problems) -> Iterator[BigFile | None]:
    """Open a BigFile; None, with a problem, if that cannot be done."""
    try:
        num_rows, dim = _shape(folder)
        rows = _rows_by_video(folder, num_rows)
        file = (folder / BIN).open("rb")
    except ProblemError as error:
        problems.add(error.kind, str(error))
        yield None
    except OSError as error:
        problems.add("unreadable file", f"{error.filename}: {error.strerror}")
        yield None
    else:
        with file:
            yield BigFile(f"{folder.parent.name}/{folder.name}", dim, rows, file)


def _shape(folder: Path) -> tuple[int, int]:
    """Rows and columns, which agree with the size of the file."""
    text = _text(folder / SHAPE)
    parts = text.split()
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ProblemError(
            "damaged index", f"{folder / SHAPE} holds {text[:40]!r}, expected rows and columns"
        )
    num_rows, dim = map(int, parts)
    size, wanted = (folder / BIN).stat().st_size, num_rows * dim * _ROW_TYPE.itemsize
    if size != wanted:
        raise ProblemError(
            "truncated file" if size < wanted else "damaged index",
            f"{folder / BIN} has {size} bytes, {num_rows} rows of {dim} float32 numbers take "
            f"{wanted}: copy or download it again",
        )
    return num_rows, dim


def _rows_by_video(folder: Path, num_rows: int) -> dict[str, np.ndarray]:
    row_of = _row_of(folder / IDS, num_rows)
    rows: dict[str, np.ndarray] = {}
    for video, frames in _entries(folder / FRAMES):
        if video in rows:
            raise ProblemError("duplicate id", f"{folder / FRAMES} names video {video!r} twice")
        rows[video] = np.array([row_of.get(frame, -1) for frame in frames], np.int64)
    return rows


def _row_of(path: Path, num_rows: int) -> dict[str, int]:
    text = _text(path)
    # Names with spaces can only have a line each.
    names = [line.strip() for line in text.strip().split("\n")]
    if len(names) != num_rows:
        names = text.split()
    row_of = {name: row for row, name in enumerate(names)}
    if len(names) != num_rows or len(row_of) != num_rows:
        raise ProblemError(
            "damaged index",
            f"{path} has {len(names)} names, {len(row_of)} different ones, for {num_rows} rows",
        )
    return row_of


def _entries(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Videos and their frames, evaluated one at a time."""
    text = _text(path)
    place = len(text) - len(text.lstrip()) + 1
    if text[place - 1 : place] != "{":
        raise _no_dictionary(path, text, 0)
    end = ""
    while end != "}":
        if _EMPTY_END.match(text, place):
            return
        found = _ENTRY.match(text, place)
        if found is None:
            raise _no_dictionary(path, text, place)
        try:
            ((video, frames),) = ast.literal_eval(f"{{{found[1]}}}").items()
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise _no_dictionary(path, text, place) from error
        yield video, list(map(str, frames))
        place, end = found.end(), found[2]


def _no_dictionary(path: Path, text: str, place: int) -> ProblemError:
    return ProblemError(
        "damaged index",
        f"{path} holds {text[place : place + 40]!r} at character {place}, expected a Python "
        "dictionary {'video': ['frame', ...], ...}",
    )


def _text(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_INDEX_BYTES:
        raise ProblemError(
            "damaged index",
            f"{path} has {size_text(size)}, at most {size_text(MAX_INDEX_BYTES)} are read",
        )
    content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("iso-8859-1")
