"""Folders that a process may read and not write, also where the tests run as root."""

import ctypes
import os
import struct
from pathlib import Path

from orchestrator import cli

_CAPABILITY_VERSION_3 = 0x20080522
# DAC_OVERRIDE and DAC_READ_SEARCH: by them root reads and writes whatever it likes.
_OVERRIDES = 0b110


def make_read_only(folder: Path) -> None:
    """Take the right to write a folder and all that is in it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)


def obey_modes() -> None:
    """From now on the modes of files count in this process, whoever's it is."""
    if os.getuid():
        return
    system = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(struct.calcsize("=6I"))
    assert system.capget(header, sets) == 0
    effective, permitted, *rest = struct.unpack("=6I", sets.raw)
    kept = struct.pack("=6I", effective & ~_OVERRIDES, permitted & ~_OVERRIDES, *rest)
    assert system.capset(header, kept) == 0


def run_obeying(arguments: list[str]) -> int:
    """Run a command in a process that obeys modes; for `run_warm`."""
    obey_modes()
    return cli.run(arguments)
