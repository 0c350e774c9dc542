"""Whose folder on a storage a sweep's folder is: two homes must not share one by its name."""

import json
import socket
from pathlib import Path
from typing import Any

from orchestrator.base.errors import PlaceError
from prvr_model.files.folder import Folder

OWNER = "owner.json"


def claim(folder: Folder, sweep_id: str, home: Path) -> None:
    """Write down that a folder is a sweep's, unless it is that of another home's.

    Whoever launches again from the home that it belongs to has lost its study, and may.

    Args:
        folder: Folder of the sweep.
        sweep_id: Identity of its outbox.
        home: Its home, absolute.

    Raises:
        PlaceError: It belongs to another home's sweep.
        StorageError: It cannot be read or written.
    """
    owner = {"sweep_id": sweep_id, "host": socket.gethostname(), "home": str(home)}
    there = _owner(folder)
    if there == owner:
        return
    is_other = there is not None and there["sweep_id"] != sweep_id
    if there is not None and is_other and _home(there) != _home(owner):
        raise PlaceError(
            f"{folder.uri} holds the trials of another sweep of this name, launched from the home "
            f"{there['home']} on {there['host']}; give this one another name (--set name=...) or "
            "storage, or go on with that one from its home"
        )
    folder.write_bytes(OWNER, json.dumps(owner).encode())


def _home(owner: dict[str, str]) -> tuple[str, str]:
    return owner["host"], owner["home"]


def _owner(folder: Folder) -> dict[str, str] | None:
    """Who is written down; nobody where that cannot be understood."""
    if not folder.exists(OWNER):
        return None
    try:
        found: Any = json.loads(folder.read_bytes(OWNER))
        return {key: str(found[key]) for key in ("sweep_id", "host", "home")}
    except (ValueError, KeyError, TypeError):
        return None
