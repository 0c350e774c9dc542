"""A folder of .npy files, written part by part, and what tells later whether they are whole.

Nothing waits for the disk: what is written can be made again, and to bring it to the disk would
take longer than to compute it. So after a power cut files may hold zeros where data was, under
names that say they are complete. Each folder therefore keeps sums of its parts and the boots of
the systems that wrote or checked it: within the same boot nothing is lost, and after another the
sums are compared once. A disk that fails to write without telling is found out then, not before.
The boot alone would not do: machines that share a file system have different boots, and each would
compute again, and remove, what another one's trials read.
"""

import io
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

_CONTENTS, _BOOTS = "contents.json", "checked_boots"
# Linux draws it anew at each start.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ArrayFile:
    """One array on disk; rows not written are zero.

    Args:
        path: Where the file shall be.
        shape: Of the array.
        dtype: Of the array.

    Raises:
        OSError: The disk has no room for it.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        header = _header(shape, self._dtype)
        self._start = len(header)
        self._row_bytes = math.prod(shape[1:]) * self._dtype.itemsize
        self._size_bytes = self._start + shape[0] * self._row_bytes
        self._parts: list[tuple[int, int, int]] = []
        self._file = path.open("wb", buffering=0)
        # A full disk is better known before anything is computed.
        _reserve(self._file.fileno(), self._size_bytes)
        _write(self._file.fileno(), memoryview(header), 0)

    def __len__(self) -> int:
        return self._shape[0]

    def __setitem__(self, rows: slice, values: object) -> None:
        """Write consecutive rows, each row once; several threads may, each its own rows."""
        start, stop, _ = rows.indices(len(self))
        wanted = (stop - start, *self._shape[1:])
        part = np.broadcast_to(np.asarray(values, self._dtype), wanted)
        data = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        offset = self._start + start * self._row_bytes
        _write(self._file.fileno(), data.data, offset)
        self._parts.append((offset, len(data), _sum(data)))

    def contents(self) -> dict[str, Any]:
        """What was written, in JSON's types."""
        return {"size_bytes": self._size_bytes, "parts": self._parts}

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: Not all could be written.
        """
        self._file.close()


class ArrayWriter:
    """Makes the arrays of a folder.

    Args:
        folder: Where their files shall be; it must be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, ArrayFile] = {}

    def create(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> ArrayFile:
        """An array of zeros to be written by rows.

        Raises:
            OSError: The disk has no room for it.
        """
        file_name = f"{name}.npy"
        self._files[file_name] = ArrayFile(self._folder / file_name, shape, dtype)
        return self._files[file_name]

    def finish(self) -> None:
        """Note what the files hold, and close them.

        Raises:
            OSError: Not all could be written.
        """
        contents = {name: file.contents() for name, file in self._files.items()}
        self.close()
        (self._folder / _CONTENTS).write_text(json.dumps(contents))
        _note_boot(self._folder)

    def close(self) -> None:
        """Close the files; without `finish` before, the folder is not whole.

        Raises:
            OSError: Not all could be written.
        """
        for file in self._files.values():
            file.close()


def is_whole(folder: Path) -> bool:
    """Whether a folder holds what an `ArrayWriter` finished there.

    The first time after a start of the system all of it is read.
    """
    try:
        contents = json.loads((folder / _CONTENTS).read_text())
        for name, value in contents.items():
            if (folder / name).stat().st_size != value["size_bytes"]:
                return False
        if _boot() in _noted_boots(folder):
            return True
        whole = all(_sums_agree(folder / name, value["parts"]) for name, value in contents.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A torn list of contents can be anything.
        return False
    if whole:
        with suppress(OSError):
            _note_boot(folder)
    return whole


def _sums_agree(path: Path, parts: list[list[int]]) -> bool:
    data = np.memmap(path, np.uint8, mode="r")
    return all(_sum(data[offset : offset + size]) == total for offset, size, total in parts)


def _noted_boots(folder: Path) -> list[str]:
    try:
        return (folder / _BOOTS).read_text().splitlines()
    except (OSError, ValueError):
        return []


def _note_boot(folder: Path) -> None:
    if boot := _boot():
        with (folder / _BOOTS).open("a") as file:
            file.write(f"{boot}\n")


def _boot() -> str | None:
    """Name of the system's current run; None where it has none: then nothing is taken on trust."""
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def _sum(data: np.ndarray) -> int:
    """Sum of bytes taken as words of 64 bits, modulo 2^64: faster than reading the memory."""
    words = data[: len(data) // 8 * 8].view(np.uint64)
    rest = int.from_bytes(data[len(words) * 8 :].tobytes(), "little")
    return (int(np.add.reduce(words)) + rest) % 2**64


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    header = io.BytesIO()
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        header, {"descr": description, "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.ftruncate(descriptor, size)


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    # One call writes 2 GiB at most, and less where a signal comes.
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
