"""Where a sweep keeps things, and how that is remembered for a resume."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.base.errors import PlaceError
from orchestrator.tracking.store import TrackingStore

DEFAULT_HOME = Path("prvr-runs")


@dataclass(frozen=True)
class Places:
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
    ) -> "Places":
        """The places of a sweep that goes on.

        Args:
            kept: What `remembered` gave.
            home: The home now.
            storage: Where the trial folders are now; None: where they were.
            tracking_uri: Where MLflow is now; None: where it was.

        Raises:
            PlaceError: MLflow's address has a password, which was not kept.
        """
        if tracking_uri is None and kept.get("tracking_has_password"):
            raise PlaceError(
                "the sweep was launched with a --tracking-uri that holds a password, which is not "
                "kept; give it again"
            )
        tracking = TrackingStore.of(tracking_uri or kept.get("tracking_uri"), home)
        return cls(home, storage or kept.get("storage"), tracking)


def home_option(home: Path) -> str:
    """The option that names the home on a command line, unless it is the default."""
    return "" if home == DEFAULT_HOME.resolve() else f" --home {shlex.quote(str(home))}"
