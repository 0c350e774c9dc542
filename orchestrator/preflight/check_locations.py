"""Checks home and storage: they can be written, keep what is written, and have room."""

import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from orchestrator.base.machine import network_file_system
from orchestrator.base.text import command
from orchestrator.preflight.finding import Finding, fine, problem, warning
from prvr_model.files.location import local_path

# Studies and outboxes are small; checkpoints of a small sweep are not.
_LEAST_FREE_BYTES = 200 * 2**20
_GOOD_FREE_BYTES = 5 * 2**30


def check_home(home: Path) -> list[Finding]:
    """The home, which need not exist yet."""
    found = _check_folder("home", home, "--home")
    if found.level == "problem":
        return [found]
    return [found, *_file_system(home), *_room("home", home, "--home")]


def check_storage(storage: str | None, home: Path) -> list[Finding]:
    """The storage for trial folders; None means the home, which has a check of its own.

    Nothing is left behind: a local folder is not made, and an object is deleted again.
    """
    if storage is None:
        return []
    local = local_path(storage)
    if local is None:
        return [_check_remote(storage)]
    if local.resolve() == home.resolve():
        return []
    found = _check_folder("storage", local, "--storage")
    return [found] if found.level == "problem" else [found, *_room("storage", local, "--storage")]


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above that exists."""
    return next(folder for folder in (path, *path.parents) if os.access(folder, os.F_OK))


def _check_folder(check: str, folder: Path, option: str) -> Finding:
    there = nearest_folder(folder.absolute())
    remedy = f"name a folder that this user can write with {option}, or change its rights"
    try:
        _try_out(there)
    except OSError as error:
        reason = error.strerror or str(error)
        return problem(check, f"{there} cannot be written: {reason}", remedy)
    new = "" if os.access(folder, os.F_OK) else "; it will be made"
    return fine(check, f"{folder} can be written{new}")


def _try_out(folder: Path) -> None:
    """Write, lock, flush and rename a file, as sweeps do."""
    with tempfile.TemporaryDirectory(prefix=".prvr-doctor-", dir=folder) as scratch:
        partial = Path(scratch) / "file.partial"
        with partial.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(Path(scratch) / "file")


def _room(check: str, folder: Path, option: str) -> list[Finding]:
    free = shutil.disk_usage(nearest_folder(folder.absolute())).free
    remedy = f"free some space, or name a folder on a larger disk with {option}"
    message = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < _LEAST_FREE_BYTES:
        return [problem(check, message, remedy)]
    if free < _GOOD_FREE_BYTES:
        plan = command("plan", "SPACE.yaml")
        remedy = f"compare with what `{plan}` says of checkpoints, or {remedy}"
        return [warning(check, message, remedy)]
    return [fine(check, message)]


def _file_system(home: Path) -> list[Finding]:
    kind = network_file_system(nearest_folder(home.absolute()))
    if kind is None:
        return []
    return [
        warning(
            "home",
            f"{home} is on a network file system ({kind}), where SQLite's locks are not safe",
            "name a folder on a disk of this machine with --home; --storage may be shared",
        )
    ]


def _check_remote(storage: str) -> Finding:
    from prvr_model.files.folder import Folder, StorageError

    name = f"doctor-{uuid.uuid4().hex[:12]}"
    remedy = "check the address, the rights and the credentials of --storage"
    try:
        folder = Folder.open(storage)
        folder.write_bytes(name, name.encode())
        intact = folder.read_bytes(name) == name.encode()
        folder.delete(name)
    except StorageError as error:
        return problem("storage", str(error), remedy)
    if not intact:
        return problem("storage", f"{storage} gives back other bytes", remedy)
    return fine("storage", f"{storage} can be written")
