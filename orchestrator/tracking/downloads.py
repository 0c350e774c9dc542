"""Fetches the weights of a registered version. Imports MLflow when it is called."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.errors import RegistryError
from orchestrator.base.text import suggestion
from orchestrator.tracking.paging import all_pages
from orchestrator.tracking.registry import VERSIONS_PER_PAGE, reachable
from orchestrator.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REFERENCE = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/([^/@]+))")
MODEL_SCHEME = "models:/"


@dataclass(frozen=True)
class FetchedVersion:
    """A version's exported model on this machine.

    Args:
        model: Name of the model.
        version: Its version.
        export: Folder as `export_model` wrote it.
    """

    model: str
    version: str
    export: Path

    @property
    def uri(self) -> str:
        """What names exactly this version, whatever becomes of aliases."""
        return f"{MODEL_SCHEME}{self.model}/{self.version}"


def fetch_version(store: TrackingStore, reference: str, target: Path) -> FetchedVersion:
    """Copy the exported model of a version into a folder.

    Args:
        store: Where MLflow keeps models.
        reference: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        target: An empty folder.

    Raises:
        RegistryError: There is no such model, alias or version, or it holds no exported model.
        TrackingError: There is no such store.
        TrackingOutageError: MLflow cannot be reached.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise RegistryError(
            f"found {reference!r}; allowed: models:/NAME@ALIAS or models:/NAME/VERSION, e.g. "
            "models:/NAME@champion"
        )
    name, alias, number = found.groups()
    store.check_exists()
    with reachable(store):
        from mlflow.artifacts import download_artifacts

        from orchestrator.tracking.writer import connect

        client = connect(store)
        version = number or _version_of(client, store, name, alias)
        source = _source(client, store, name, version)
        download_artifacts(artifact_uri=source, dst_path=str(target), tracking_uri=store.uri)
    exports = sorted(target.rglob("model.safetensors"))
    if not exports:
        raise RegistryError(f"{name} version {version} holds no exported model: {source}")
    return FetchedVersion(name, version, exports[0].parent)


def _version_of(client: "MlflowClient", store: TrackingStore, name: str, alias: str) -> str:
    names = sorted(model.name for model in all_pages(client.search_registered_models))
    if name not in names:
        raise RegistryError(
            f"no model {name!r} in the registry at {store.shown}; models there: "
            f"{', '.join(names) or 'none'}{suggestion(name, names)}"
        )
    aliases = client.get_registered_model(name).aliases
    if alias not in aliases:
        there = ", ".join(sorted(aliases)) or "none"
        raise RegistryError(
            f"{name} has no alias {alias!r}; aliases: {there}{suggestion(alias, aliases)}"
        )
    return str(aliases[alias])


def _source(client: "MlflowClient", store: TrackingStore, name: str, version: str) -> str:
    versions = {
        str(known.version): known
        for known in all_pages(
            client.search_model_versions,
            filter_string=f"name = '{name}'",
            max_results=VERSIONS_PER_PAGE,
        )
    }
    if version not in versions:
        there = ", ".join(sorted(versions, key=int)) or "none"
        raise RegistryError(
            f"no version {version!r} of {name} in the registry at {store.shown}; versions: {there}"
        )
    return str(versions[version].source)
