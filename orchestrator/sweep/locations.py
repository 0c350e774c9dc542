"""Where a sweep keeps things, what a resume needs of it, and which home owns a storage folder.

A home is held while something is written there, and left at rest.
"""

import json
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.base.errors import LocationError
from orchestrator.base.home import locked_home, remove_partial_files
from orchestrator.base.sqlite_files import bring_to_rest
from orchestrator.base.text import command
from orchestrator.study.storage import close_writing, study_file
from orchestrator.tracking.store import DATABASE_FILE, TrackingStore
from prvr_model.files.folder import Folder

OWNER = "owner.json"
"""The file in a sweep's storage folder that records which home it belongs to."""


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
        """What the study keeps of the locations; an address with a password is left out."""
        is_in_home = self.tracking == TrackingStore.of_home(self.home)
        has_password = bool(urlsplit(self.tracking.uri).password)
        return {
            "storage": self.storage,
            "tracking_uri": None if is_in_home or has_password else self.tracking.uri,
            "tracking_has_password": has_password,
        }

    def command(self, *words: str, **options: object) -> str:
        """A command on a sweep here that needs MLflow, with what the study does not keep of it."""
        is_kept = not self.remembered()["tracking_has_password"]
        uri = None if is_kept else self.tracking.shown
        return command(*words, home=self.home, tracking_uri=uri, **options)

    @classmethod
    def recalled(
        cls, kept: Mapping[str, Any], home: Path, storage: str | None, tracking_uri: str | None
    ) -> "SweepLocations":
        """The locations of a sweep that is resumed.

        Args:
            kept: What `remembered` returned.
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


@contextmanager
def held_home(home: Path, sweep: str = "") -> Iterator[None]:
    """Hold a home's lock, see `locked_home`; afterwards nothing in the home is half-written.

    Each database is one whole file, and what this or a killed process had begun is gone.
    """
    with locked_home(home, sweep):
        remove_partial_files(home)
        try:
            yield
        finally:
            close_writing()
            for file in (study_file(home), home / DATABASE_FILE):
                # One that is damaged, or read all the while, stays as it is: whole with its log.
                with suppress(sqlite3.Error):
                    bring_to_rest(file)
            remove_partial_files(home)


def claim(folder: Folder, sweep_id: str, home: Path) -> None:
    """Record that a folder belongs to a sweep, so that no sweep of another home uses it.

    A launch from the recorded home may claim the folder again: it has lost its study.

    Args:
        folder: Folder of the sweep.
        sweep_id: Identity of its outbox.
        home: Its home, absolute.

    Raises:
        LocationError: The folder belongs to a sweep of another home.
        StorageError: It cannot be read or written.
    """
    owner = {"sweep_id": sweep_id, "host": socket.gethostname(), "home": str(home)}
    recorded = _recorded_owner(folder)
    if recorded == owner:
        return
    if (
        recorded is not None
        and recorded["sweep_id"] != sweep_id
        and not _same_home(recorded, owner)
    ):
        raise LocationError(
            f"{folder.uri} holds the trials of another sweep of this name, launched from the home "
            f"{recorded['home']} on {recorded['host']}; give this one another name (--set "
            "name=...) or storage, or resume that one from its home"
        )
    folder.write_bytes(OWNER, json.dumps(owner).encode())


def _recorded_owner(folder: Folder) -> dict[str, str] | None:
    """The owner in the folder's file; None if the file is missing or cannot be parsed."""
    if not folder.exists(OWNER):
        return None
    try:
        found: Any = json.loads(folder.read_bytes(OWNER))
        return {key: str(found[key]) for key in ("sweep_id", "host", "home")}
    except (ValueError, KeyError, TypeError):
        return None


def _same_home(first: dict[str, str], second: dict[str, str]) -> bool:
    return all(first[key] == second[key] for key in ("host", "home"))
