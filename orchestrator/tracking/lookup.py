"""What MLflow knows of trials: which of them are registered, and which one a run shows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.errors import RegistryError, ReproductionError
from orchestrator.base.text import command
from orchestrator.tracking.paging import all_pages
from orchestrator.tracking.registry import VERSIONS_PER_PAGE, reachable
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.tags import KEY_TAG, SWEEP_ID_TAG, SWEEP_TAG, TRIAL_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class VersionOrigin:
    """A version in the model registry, and the trial that its tags name.

    Args:
        model: Name of the model.
        version: Its version.
        sweep: Name of the sweep; empty where the version does not name one.
        trial: Number of the trial, as text; empty where the version does not name one.
        key: Content key of the trial; empty where the version does not name one.
        source: URI of its files.
    """

    model: str
    version: str
    sweep: str
    trial: str
    key: str
    source: str


def registered_versions(store: TrackingStore, sweep: str, home: Path) -> tuple[VersionOrigin, ...]:
    """All versions of all models.

    Args:
        store: Where MLflow keeps models.
        sweep: A sweep that the store must know, else it cannot say which trials are registered.
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
            sync = command("sync", sweep, home=home, tracking_uri=store.shown)
            raise RegistryError(
                f"MLflow at {store.shown} knows no sweep {sweep!r}, so it cannot say which of its "
                "trials are registered; name the one that does with --tracking-uri, or bring "
                f"this one up to date with `{sync}`"
            )
        return tuple(_versions(client))


def _versions(client: "MlflowClient") -> Iterator[VersionOrigin]:
    for version in all_pages(client.search_model_versions, max_results=VERSIONS_PER_PAGE):
        tags = version.tags
        yield VersionOrigin(
            version.name,
            str(version.version),
            tags.get(SWEEP_TAG, ""),
            tags.get(TRIAL_TAG, ""),
            tags.get(KEY_TAG, ""),
            version.source or "",
        )


@dataclass(frozen=True)
class TrackedTrial:
    """A trial as MLflow knows it; `sweep_id` is the identity of its sweep's outbox."""

    sweep: str
    number: int
    sweep_id: str


def is_run_id(text: str) -> bool:
    """Whether a text has the form of MLflow's run ids: 32 hexadecimal digits."""
    return _RUN_ID.fullmatch(text) is not None


def tracked_trial(store: TrackingStore, run_id: str) -> TrackedTrial:
    """The trial of a run.

    Args:
        store: Where MLflow keeps runs.
        run_id: The run.

    Raises:
        TrackingError: There is no such store.
        TrackingOutageError: The store cannot be reached, or has no such run.
        ReproductionError: The run is not that of a trial.
    """
    store.check_exists()
    with reachable(store):
        from orchestrator.tracking.writer import connect

        tags = connect(store).get_run(run_id).data.tags
    missing = [tag for tag in (SWEEP_TAG, TRIAL_TAG, SWEEP_ID_TAG) if tag not in tags]
    if missing == [TRIAL_TAG]:
        sweep = tags[SWEEP_TAG]
        raise ReproductionError(
            f"run {run_id} is that of the sweep {sweep!r} itself; name the run of one of its "
            f"trials, or {sweep}/NUMBER"
        )
    if missing:
        raise ReproductionError(
            f"run {run_id} at {store.shown} is no trial of a sweep: it has no tag "
            f"{', '.join(missing)}"
        )
    return TrackedTrial(tags[SWEEP_TAG], int(tags[TRIAL_TAG]), tags[SWEEP_ID_TAG])
