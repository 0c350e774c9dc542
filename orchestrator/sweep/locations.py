"""Where a sweep keeps things, and how that is remembered for a resume."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.base.errors import LocationError
from orchestrator.tracking.store import TrackingStore
from prvr_model.files.folder import Folder


@dataclass(frozen=True)
class SweepLocations:
    """Where a sweep keeps things.

    Args:
        home: Folder of the study, the outbox and generated data; absolute.
        storage: URI or absolute path of trial folders; None: the home.
        tracking: Where MLflow keeps runs and models.
    """

    home: Path
    storage: str | None
    tracking: TrackingStore

    def remembered(self) -> dict[str, Any]:
        """What the study keeps of it; passwords are left out."""
        is_own = self.tracking == TrackingStore.of_home(self.home)
        secret = bool(urlsplit(self.tracking.uri).password)
        return {
            "storage": self.storage,
            "tracking_uri": None if is_own or secret else self.tracking.uri,
            "tracking_has_password": secret,
        }

    @classmethod
    def recalled(
        cls, kept: Mapping[str, Any], home: Path, storage: str | None, tracking_uri: str | None
    ) -> "SweepLocations":
        """The places of a sweep that goes on.

        Args:
            kept: What `remembered` gave.
            home: The home now.
            storage: Where the trial folders are now; None: where they were.
            tracking_uri: Where MLflow is now; None: where it was.

        Raises:
            LocationError: MLflow's address has a password, which was not kept.
        """
        if tracking_uri is None and kept.get("tracking_has_password"):
            raise LocationError(
                "the sweep was launched with a --tracking-uri that holds a password, which is not "
                "kept; give it again"
            )
        tracking = TrackingStore.of(tracking_uri or kept.get("tracking_uri"), home)
        return cls(home, storage or kept.get("storage"), tracking)


# Whose folder on a storage a sweep's folder is: two homes must not share one by its name.


OWNER = "owner.json"


def claim(folder: Folder, sweep_id: str, home: Path) -> None:
    """Write down that a folder is a sweep's, unless it is that of another home's.

    Whoever launches again from the home that it belongs to has lost its study, and may.

    Args:
        folder: Folder of the sweep.
        sweep_id: Identity of its outbox.
        home: Its home, absolute.

    Raises:
        LocationError: It belongs to another home's sweep.
        StorageError: It cannot be read or written.
    """
    owner = {"sweep_id": sweep_id, "host": socket.gethostname(), "home": str(home)}
    there = _owner(folder)
    if there == owner:
        return
    is_other = there is not None and there["sweep_id"] != sweep_id
    if there is not None and is_other and _home(there) != _home(owner):
        raise LocationError(
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
