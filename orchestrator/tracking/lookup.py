"""Which trials are registered, as the model registry says."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.errors import RegistryError
from orchestrator.sweep.places import home_option
from orchestrator.sweep.retention import VersionOrigin
from orchestrator.tracking.registry import reachable
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.view import KEY_TAG, SWEEP_TAG, TRIAL_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PER_PAGE = 200


def registered_versions(store: TrackingStore, sweep: str, home: Path) -> tuple[VersionOrigin, ...]:
    """All versions of all models.

    Args:
        store: Where MLflow keeps models.
        sweep: A sweep that the store must know: another store's silence would say nothing.
        home: Home of the sweep.

    Raises:
        TrackingError: There is no such store.
        TrackingOutageError: It cannot be reached.
        RegistryError: It does not know the sweep.
    """
    store.check_exists()
    with reachable(store):
        from orchestrator.tracking.writer import connect, experiment_ids

        client = connect(store)
        wanted = f"tags.`{SWEEP_TAG}` = '{sweep}'"
        experiments = list(experiment_ids(client).values())
        if not experiments or not client.search_runs(experiments, wanted, max_results=1):
            here = f"{home_option(home)} --tracking-uri {shlex.quote(store.uri)}"
            raise RegistryError(
                f"MLflow at {store.uri} knows no sweep {sweep!r}, so it cannot say which of its "
                "trials are registered; name the one that does with --tracking-uri, or bring "
                f"this one up to date with `prvr-sweep sync {sweep}{here}`"
            )
        return tuple(_versions(client))


def _versions(client: "MlflowClient") -> Iterator[VersionOrigin]:
    token: str | None = None
    while True:
        page = client.search_model_versions(max_results=_PER_PAGE, page_token=token)
        for one in page:
            tags = one.tags
            yield VersionOrigin(
                one.name,
                str(one.version),
                tags.get(SWEEP_TAG, ""),
                tags.get(TRIAL_TAG, ""),
                tags.get(KEY_TAG, ""),
                one.source or "",
            )
        token = page.token
        if not token:
            return
