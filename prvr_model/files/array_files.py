"""A folder of .npy files, written part by part, with sums that tell later whether they are whole.

Writes are not flushed to the disk: computing the arrays again takes less time than flushing them.
So after a power cut, files that look complete may hold zeros. Each folder therefore keeps sums of
its parts and the boots in which it was written or checked: within such a boot nothing is lost, and
in another one the sums are compared once. A disk that silently fails to write is noticed only then.
The boot alone would not suffice: machines that share a file system have different boots, and each
would compute again, and remove, files that another machine's trials read.
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
        path: Path of the file.
        shape: Shape of the array.
        dtype: Type of the array.

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
        # A full disk must be noticed before anything is computed.
        _reserve(self._file.fileno(), self._size_bytes)
        _write(self._file.fileno(), memoryview(header), 0)

    def __len__(self) -> int:
        return self._shape[0]

    def __setitem__(self, rows: slice, values: object) -> None:
        """Write consecutive rows, each row once; several threads may write different rows."""
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
        folder: Folder of their files; it must exist.
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
        """Record what the files hold, and close them.

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
    """Whether a folder is as an `ArrayWriter` finished it.

    The first call after a boot of the system reads all of it.
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
    """Id of the system's current boot; None if it has none: the sums are then always compared."""
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def _sum(data: np.ndarray) -> int:
    """Sum of the bytes as words of 64 bits, modulo 2^64; takes no longer than reading them."""
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
    # One call writes 2 GiB at most, and less if a signal interrupts it.
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
