"""The model registry: versions of a data set's model, and which of them is the champion.

MLflow cannot compare and set an alias at once: only one process may register or promote at a time.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.base.errors import RegistryError, TrackingOutageError
from orchestrator.base.text import command, suggestion
from orchestrator.tracking.logged_models import LoggedModels, model_id_of
from orchestrator.tracking.model_version import (
    CANDIDATE,
    CHAMPION,
    Alias,
    Promotion,
    RegisteredVersion,
    SweepOrigin,
    VersionCandidate,
    compare_with_champion,
    summary_of,
    version_description,
    version_tags,
)
from orchestrator.tracking.paging import all_pages
from orchestrator.tracking.store import TrackingStore, experiment_name, load_mlflow
from orchestrator.tracking.tags import (
    DECIDED_TAG,
    KEY_TAG,
    SWEEP_ID_TAG,
    SWEEP_TAG,
    TEST_TAG,
)
from prvr_model.errors import GalleryError, PrvrError
from prvr_model.retrieval.gallery_format import (
    model_differences,
    model_of,
    read_gallery_manifest,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

VERSIONS_PER_PAGE = 200


def register_champion(
    store: TrackingStore, origin: SweepOrigin, candidates: Sequence[VersionCandidate]
) -> tuple[RegisteredVersion, ...]:
    """Register a sweep's best trials; a better one on a fair comparison becomes the champion.

    Within a sweep the given order decides, not the values: a configuration that won by its mean
    over seeds ranks above the luckiest seed of another. A trial that this sweep registered before
    keeps its version, and its alias is not decided again.

    Args:
        store: Where MLflow keeps models.
        origin: The sweep.
        candidates: Its best complete trials, best first.

    Raises:
        RegistryError: A trial's run is not in MLflow.
        TrackingOutageError: MLflow cannot be reached; another call registers what is missing.
    """
    with reachable(store):
        registry = _Registry(store, experiment_name(origin.data_set))
        before: set[str] = set()
        registered = []
        for candidate in candidates:
            registered.append(registry.register(origin, candidate, before))
            before.add(registered[-1].version)
        return tuple(registered)


def lost_models(
    store: TrackingStore, origin: SweepOrigin, candidates: Mapping[int, str]
) -> list[int]:
    """Numbers of registered trials of which the registry has no version with a model any more.

    Args:
        store: Where MLflow keeps models.
        origin: The sweep.
        candidates: Content key of each trial that was registered, by number.

    Raises:
        TrackingOutageError: MLflow cannot be reached.
    """
    with reachable(store):
        registry = _Registry(store, experiment_name(origin.data_set))
        return [number for number, key in candidates.items() if not registry.has_model(origin, key)]


def promote(store: TrackingStore, model: str, version: str) -> Promotion:
    """Make a version the champion by hand; values are not compared.

    Raises:
        TrackingError: There is no such store.
        RegistryError: There is no such model or version; the message lists the existing ones.
        TrackingOutageError: MLflow cannot be reached.
    """
    store.check_exists()
    with reachable(store):
        return _Registry(store, model).promote(version)


def attach_gallery(store: TrackingStore, model: str, version: str, gallery: Path) -> str:
    """A new version of a model: an existing one with a copy of a gallery, which answers sentences.

    Args:
        store: Where MLflow keeps models.
        model: Name of the model.
        version: The version, with which the gallery was made.
        gallery: Folder of the gallery.

    Returns:
        The new version.

    Raises:
        GalleryError: There is no gallery, or another model made it.
        TrackingError: There is no such store.
        RegistryError: There is no such model or version.
        TrackingOutageError: MLflow cannot be reached.
    """
    made_by = read_gallery_manifest(gallery).model
    store.check_exists()
    with reachable(store), TemporaryDirectory(prefix="prvr-model-") as folder:
        registry = _Registry(store, model)
        own = model_of(registry.download(version, Path(folder)), f"{model} version {version}")
        if differences := model_differences(own, made_by):
            raise GalleryError(
                f"{gallery} was made by another model ({made_by.source}) than {own.source}: "
                f"{'; '.join(differences)}; build it with models:/{model}/{version}"
            )
        return registry.attach(version, gallery)


@contextmanager
def reachable(store: TrackingStore) -> Iterator[None]:
    """Turn whatever MLflow raises inside the block into `TrackingOutageError`."""
    load_mlflow()
    from orchestrator.tracking.faults import fault_of

    try:
        yield
    except PrvrError:
        raise
    except Exception as error:
        # Its own errors, those of `requests` (files of models go to a server without MLflow's
        # wrapping), of SQLAlchemy, and of what reads a server's answer that is none.
        fault = fault_of(error, store.uri)
        raise TrackingOutageError(f"MLflow at {store.shown}: {fault}") from error


class _Registry:
    """One model of the registry."""

    def __init__(self, store: TrackingStore, model: str) -> None:
        from orchestrator.tracking.writer import connect

        self._client: MlflowClient = connect(store)
        self._model = model
        self._store = store
        self._models = LoggedModels(self._client, store)

    def register(
        self, origin: SweepOrigin, candidate: VersionCandidate, before: Set[str]
    ) -> RegisteredVersion:
        """Version of a trial, created if it or its model is missing, with its alias decided.

        Args:
            origin: Its sweep.
            candidate: The trial.
            before: Versions of better trials of the sweep.
        """
        self._ensure_model()
        version, note = self._made(origin, candidate)
        self._add_score(version, origin, candidate)
        if DECIDED_TAG in version.tags:
            alias = self._alias_of(version)
            reason = f"registered before as version {note}; aliases stay as they are"
        else:
            self._models.link(self._model, version)
            alias, reason = self._decide(version, before)
        return RegisteredVersion(
            self._model,
            str(version.version),
            candidate.number,
            candidate.value,
            alias,
            reason,
            candidate.epoch,
            model_id_of(version),
            candidate.tracked,
        )

    def _made(self, origin: SweepOrigin, candidate: VersionCandidate) -> "tuple[ModelVersion, str]":
        """A trial's version with its model, and which version it was before, with what was lost."""
        there: list[ModelVersion] = []
        lost: list[ModelVersion] = []
        note = ""
        for known in self._find(origin, candidate.key):
            what = self._models.what_is_lost(known)
            if what == "files":
                self._models.upload_again(known, candidate)
                note = ", whose files were gone and are there again"
            (lost if what == "model" else there).append(known)
        version = there[0] if there else self._create(origin, candidate)
        if not lost:
            return version, f"{version.version}{note}"
        if DECIDED_TAG not in version.tags:
            version = self._replacing(lost, version)
        return version, f"{lost[0].version}, whose model is gone"

    def has_model(self, origin: SweepOrigin, key: str) -> bool:
        """Whether a trial has a version whose model is there with its files."""
        return any(
            self._models.what_is_lost(version) is None for version in self._find(origin, key)
        )

    def _replacing(self, lost: Sequence["ModelVersion"], version: "ModelVersion") -> "ModelVersion":
        """A new version, with the aliases of those of its trial that have lost their model."""
        for before in lost:
            if (alias := self._alias_of(before)) is not None:
                self._client.set_registered_model_alias(self._model, alias, version.version)
            if decided := before.tags.get(DECIDED_TAG):
                self._client.set_model_version_tag(
                    self._model, version.version, DECIDED_TAG, decided
                )
        self._models.link(self._model, version)
        return self._client.get_model_version(self._model, version.version)

    def _add_score(
        self, version: "ModelVersion", origin: SweepOrigin, candidate: VersionCandidate
    ) -> None:
        """Add the score on test to a version that was registered without one."""
        tags = version_tags(origin, candidate)
        if candidate.test is not None and version.tags.get(TEST_TAG) != tags[TEST_TAG]:
            text = version_description(origin, candidate)
            self._client.update_model_version(self._model, version.version, text)
            self._client.set_model_version_tag(
                self._model, version.version, TEST_TAG, tags[TEST_TAG]
            )

    def promote(self, version: str) -> Promotion:
        """Move the champion's alias by hand."""
        chosen = self._existing(version)
        champion = self._champion()
        replaced = champion if champion and not _is_same(champion, chosen) else None
        self._client.set_registered_model_alias(self._model, CHAMPION, chosen.version)
        self._drop_candidate(chosen)
        # A resume of its sweep must not decide again.
        self._client.set_model_version_tag(self._model, chosen.version, DECIDED_TAG, "promoted")
        return Promotion(
            self._model,
            str(chosen.version),
            str(replaced.version) if replaced else None,
            summary_of(chosen),
            summary_of(replaced) if replaced else None,
        )

    def download(self, version: str, target: Path) -> Path:
        """The exported model of a version, copied into a folder."""
        from mlflow.artifacts import download_artifacts

        source = self._existing(version).source
        download_artifacts(artifact_uri=source, dst_path=str(target), tracking_uri=self._store.uri)
        return next(target.rglob("model.safetensors")).parent

    def attach(self, version: str, gallery: Path) -> str:
        """A version like another, with a gallery; returns its number."""
        old = self._existing(version)
        summary = f"{summary_of(old)}; version {version} with the gallery {gallery.name}"
        card = (old.description or "").partition("\n")[2]
        logged = self._models.log_gallery(f"{self._model}-{version}-gallery", old, gallery)
        made = self._client.create_model_version(
            self._model,
            logged.artifact_location,
            run_id=old.run_id,
            tags={**old.tags, DECIDED_TAG: "promoted"},
            description="\n".join(filter(None, (summary, card))),
            model_id=logged.model_id,
        )
        self._models.link(self._model, self._client.get_model_version(self._model, made.version))
        return str(made.version)

    def _decide(self, version: "ModelVersion", before: Set[str]) -> tuple[Alias | None, str]:
        champion = self._champion()
        alias: Alias | None = CHAMPION
        reason = "there was no champion"
        if champion is not None and str(champion.version) in before:
            alias, reason = CANDIDATE, f"version {champion.version} of its sweep ranks above it"
        elif champion is not None and not _is_same(champion, version):
            words = ("promote", self._model, str(version.version))
            promote = command(*words, **self._store.options)
            alias, reason = compare_with_champion(version, champion, promote)
        if alias == CANDIDATE and self._is_candidate(before):
            alias = None
        if alias is not None:
            self._client.set_registered_model_alias(self._model, alias, version.version)
        # Written last: after a kill before this line, the next run decides again.
        decided = alias or "neither"
        self._client.set_model_version_tag(self._model, version.version, DECIDED_TAG, decided)
        return alias, reason

    def _is_candidate(self, versions: Set[str]) -> bool:
        """Whether one of these versions is the candidate, e.g. the second of a sweep's three."""
        there = self._by_alias(CANDIDATE)
        return there is not None and str(there.version) in versions

    def _drop_candidate(self, version: "ModelVersion") -> None:
        candidate = self._by_alias(CANDIDATE)
        if candidate is not None and _is_same(candidate, version):
            self._client.delete_registered_model_alias(self._model, CANDIDATE)

    def _alias_of(self, version: "ModelVersion") -> Alias | None:
        for alias in (CHAMPION, CANDIDATE):
            holder = self._by_alias(alias)
            if holder is not None and _is_same(holder, version):
                return alias
        return None

    def _champion(self) -> "ModelVersion | None":
        return self._by_alias(CHAMPION)

    def _by_alias(self, alias: Alias) -> "ModelVersion | None":
        number = self._client.get_registered_model(self._model).aliases.get(alias)
        return self._client.get_model_version(self._model, number) if number is not None else None

    def _ensure_model(self) -> None:
        if self._model not in self._model_names():
            self._client.create_registered_model(self._model)

    def _model_names(self) -> list[str]:
        return sorted(model.name for model in all_pages(self._client.search_registered_models))

    def _versions(self) -> Iterator["ModelVersion"]:
        return all_pages(
            self._client.search_model_versions,
            filter_string=f"name = '{self._model}'",
            max_results=VERSIONS_PER_PAGE,
        )

    def _find(self, origin: SweepOrigin, key: str) -> "list[ModelVersion]":
        """Versions of a trial, the first one first."""
        wanted = {SWEEP_TAG: origin.sweep, SWEEP_ID_TAG: origin.sweep_id, KEY_TAG: key}
        found = [version for version in self._versions() if wanted.items() <= version.tags.items()]
        return sorted(found, key=lambda version: int(version.version))

    def _existing(self, version: str) -> "ModelVersion":
        names = self._model_names()
        if self._model not in names:
            there = ", ".join(names) or "none"
            raise RegistryError(
                f"no model {self._model!r} in the registry at {self._store.shown}; models there: "
                f"{there}{suggestion(self._model, names)}"
            )
        versions = {str(known.version): known for known in self._versions()}
        if version not in versions:
            there = ", ".join(sorted(versions, key=int)) or "none"
            raise RegistryError(f"{self._model} has no version {version!r}; versions: {there}")
        return versions[version]

    def _create(self, origin: SweepOrigin, candidate: VersionCandidate) -> "ModelVersion":
        run = self._models.run_of(origin, candidate)
        logged = self._models.log(origin, candidate, run)
        version = self._client.create_model_version(
            self._model,
            # Not `models:/<id>`: over a database MLflow looks that up in the process-wide store.
            logged.artifact_location,
            run_id=run.info.run_id,
            tags=version_tags(origin, candidate),
            description=version_description(origin, candidate),
            model_id=logged.model_id,
        )
        return self._client.get_model_version(self._model, version.version)


def _is_same(left: "ModelVersion", right: "ModelVersion") -> bool:
    # Numbers from a database, text from a server.
    return str(left.version) == str(right.version)
