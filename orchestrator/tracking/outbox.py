"""The driver's outbox: an append-only file of events that a sender reads at its own pace.

One JSON object per line. An appended event is in the file; an unfinished line that a crash left is
cut off when the file is opened again. The module does not know its readers.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from prvr_model.files.durable import sync_folder

_HEADER_KIND = "outbox"
_FORMAT = 1
_SYNC_EVERY_S = 1.0
_EVENTS_AT_ONCE = 1000


class EventSink(Protocol):
    """What a sweep needs of a tracker while it runs."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Take one event; must neither raise nor wait for anything beyond the local disk."""


class Outbox:
    """Append-only JSONL file with an identity that lasts as long as the file.

    The first line holds the identity. By it a reader notices that the file was replaced by another
    outbox, and a tracker tells two sweeps of the same name apart.

    Args:
        path: The file; created with its folder if missing. One process appends to it.
        identity: Identity of a new file; None generates one.
    """

    def __init__(self, path: Path, identity: str | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._unwritten: list[bytes] = []
        self._problem: str | None = None
        self._synced_s = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        self._size = _cut_torn_line(self._file)
        self.identity = self._read_identity() if self._size else self._write_header(identity)

    @property
    def problem(self) -> str | None:
        """Why events could not be written to the disk yet; None if all are written."""
        return self._problem

    @property
    def size_bytes(self) -> int:
        """Size of the whole lines on the disk."""
        return self._size

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event; it outlives this process, and after a second at most also a power cut.

        What a power cut takes, a resumed sweep tells again from its study. A disk that is full or
        gone must not end the trials: the event waits in memory, `problem` says why, and the next
        `append` or `settle` tries again.
        """
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._unwritten.append(line)
            self._write()

    def settle(self) -> bool:
        """Try again to write events that a failing disk refused.

        Returns:
            Whether all events are on the disk.
        """
        with self._lock:
            if self._unwritten:
                self._write()
            return not self._unwritten

    def close(self) -> None:
        """Close the file; events can still be read."""
        self._file.close()

    def _write(self) -> None:
        try:
            self._cut_leftover()
            _write_all(self._file, b"".join(self._unwritten))
            self._sync()
        except OSError as error:
            self._problem = f"{self.path}: {error.strerror or error}"
            self._undo()
        else:
            self._size += sum(map(len, self._unwritten))
            self._unwritten.clear()
            self._problem = None

    def _sync(self) -> None:
        """Have the system write events to the disk, at most once in a while: it takes long."""
        if time.monotonic() - self._synced_s >= _SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced_s = time.monotonic()

    def _undo(self) -> None:
        # If even this fails, the next write tries it again.
        try:
            self._cut_leftover()
        except OSError as error:
            self._problem = f"{self.path}: {error.strerror or error}"

    def _cut_leftover(self) -> None:
        """Cut off the part of a line that a failed write left: the next line would join it."""
        if os.fstat(self._file.fileno()).st_size > self._size:
            self._file.truncate(self._size)

    def events(self) -> Iterator[dict[str, Any]]:
        """All events on the disk, of which only some are in memory at a time."""
        for batch in _batches(self.path, self._size, _EVENTS_AT_ONCE):
            yield from batch.events

    def _write_header(self, wanted: str | None) -> str:
        identity = wanted or uuid.uuid4().hex
        header = {"kind": _HEADER_KIND, "format": _FORMAT, "id": identity}
        line = json.dumps(header).encode() + b"\n"
        _write_all(self._file, line)
        os.fsync(self._file.fileno())
        sync_folder(self.path.parent)
        self._size = len(line)
        return identity

    def _read_identity(self) -> str:
        identity = identity_of(self.path)
        if identity is None:
            raise OSError(f"{self.path} is not an outbox; move it away to start a new one")
        return identity


def identity_of(path: Path) -> str | None:
    """Identity of an outbox; None if the file is missing or its first line is no outbox's."""
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    header = _parsed(line) if line.endswith(b"\n") else None
    if header is None or header.get("kind") != _HEADER_KIND:
        return None
    return str(header["id"])


@dataclass(frozen=True)
class EventBatch:
    """Events read at once; `end` is the position behind them, `start` the one before."""

    events: tuple[dict[str, Any], ...]
    start: int
    end: int


class OutboxReader:
    """Reads whole lines from its last position, which outlives the process.

    Reading does not move the position, `commit` does: events that were read but not committed are
    read again after a crash.

    Args:
        outbox: What to read.
        position_path: Where the position is kept; one file per reader.
    """

    def __init__(self, outbox: Outbox, position_path: Path) -> None:
        self._outbox = outbox
        self._position_path = position_path
        self.position = self._load()

    @property
    def is_done(self) -> bool:
        """Whether everything that is on the disk was read and committed."""
        return self.position >= self._outbox.size_bytes

    def read(self, limit: int) -> EventBatch:
        """The next events, at most `limit` of them, from the committed position on."""
        return read_events(self._outbox.path, self.position, self._outbox.size_bytes, limit)

    def before(self, limit: int) -> Iterator[EventBatch]:
        """All events before the committed position, at most `limit` of them at a time."""
        return _batches(self._outbox.path, self.position, limit)

    def commit(self, position: int) -> None:
        """Remember that everything before `position` was sent."""
        text = json.dumps({"outbox": self._outbox.identity, "position": position})
        partial = self._position_path.with_name(self._position_path.name + ".partial")
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._position_path)
        self.position = position

    def _load(self) -> int:
        try:
            state = json.loads(self._position_path.read_text(encoding="utf-8"))
            known = state["outbox"] == self._outbox.identity
            position = int(state["position"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0  # Reading all events again is always right: they may be repeated.
        return position if known and position <= self._outbox.size_bytes else 0


def _batches(path: Path, stop: int, limit: int) -> Iterator[EventBatch]:
    position = 0
    while (batch := read_events(path, position, stop, limit)).end > position:
        yield batch
        position = batch.end


def read_events(path: Path, start: int, stop: int, limit: int | None) -> EventBatch:
    """Events of the lines between two positions; lines that are not JSON objects are skipped.

    Args:
        path: An outbox.
        start: Position of a line's first byte.
        stop: Position behind the last line to read.
        limit: Largest number of lines; None means no limit.
    """
    events: list[dict[str, Any]] = []
    end = start
    with path.open("rb") as file:
        file.seek(start)
        lines = 0
        while end < stop and lines != limit:
            line = file.readline()
            event = _parsed(line)
            if event is not None and event.get("kind") != _HEADER_KIND:
                events.append(event)
            end += len(line)
            lines += 1
            if not line:
                break
    return EventBatch(tuple(events), start, end)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _cut_torn_line(file: BinaryIO) -> int:
    # Scans back from the end: an outbox can be large, its last line is not.
    size = file.seek(0, os.SEEK_END)
    end = size
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        file.truncate(end)
        os.fsync(file.fileno())
    return end


def _write_all(file: BinaryIO, data: bytes) -> None:
    # An unbuffered file may take a part only, for instance when the disk fills.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def set_aside(path: Path) -> None:
    """Rename an outbox that belongs to another study."""
    if path.exists():
        path.rename(path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.old"))
