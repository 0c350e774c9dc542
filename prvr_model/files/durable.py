"""Writes files that appear whole under their name or not at all, and survive a power cut."""

import os
import uuid
from pathlib import Path
from typing import IO, Any


def replace_file(target: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file whole, replacing one of the same name; its folder is made if missing.

    Args:
        target: The file.
        content: What it will hold.
        durable: Whether it must survive a power cut; otherwise a cut may leave it empty.

    Raises:
        OSError: It cannot be written; the earlier file is intact.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`: only the owner can read its files, and a team shares its storage.
    temporary = partial_path(target)
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            if durable:
                sync_file(stream)
        temporary.replace(target)
        if durable:
            sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name by a hard link, replacing a file of that name.

    Raises:
        OSError: The names lie on different disks, or the file system has no links.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = partial_path(target)
    try:
        os.link(source, temporary)
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def partial_path(target: Path) -> Path:
    """A new hidden path beside a file or folder, under which its content is made."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.partial")


def sync_file(stream: IO[Any]) -> None:
    """Have the system write all of an open file to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Have the system write a folder's entries to the disk, e.g. after a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
