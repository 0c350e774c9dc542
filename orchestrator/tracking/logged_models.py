"""Models that MLflow keeps for versions of a registered model: their files, and what is lost."""

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.base.errors import RegistryError
from orchestrator.tracking.model_version import SweepOrigin, VersionCandidate
from orchestrator.tracking.store import TrackingStore, experiment_name, may_write
from orchestrator.tracking.tags import MODEL_VERSIONS_TAG, SWEEP_ID_TAG, SWEEP_TAG, TRIAL_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

# MLflow keeps a model's files below a folder that is named by the model's id.
_MODEL_ID = re.compile(r"/(m-[0-9a-f]{32})(?:/|$)")


class LoggedModels:
    """Models of trials in one MLflow store.

    Args:
        client: Of the store.
        store: Where MLflow keeps models.
    """

    def __init__(self, client: "MlflowClient", store: TrackingStore) -> None:
        self._client = client
        self._store = store

    def run_of(self, origin: SweepOrigin, candidate: VersionCandidate) -> "Run":
        """The run of a trial.

        Raises:
            RegistryError: MLflow has none yet.
        """
        experiment = self._client.get_experiment_by_name(experiment_name(origin.data_set))
        wanted = (
            f"tags.`{SWEEP_ID_TAG}` = '{origin.sweep_id}' "
            f"AND tags.`{TRIAL_TAG}` = '{candidate.number}'"
        )
        ids = [experiment.experiment_id] if experiment is not None else []
        runs = self._client.search_runs(ids, wanted, max_results=1) if ids else []
        if not runs:
            raise RegistryError(
                f"trial {candidate.number} of sweep {origin.sweep!r} is not in MLflow yet, so its "
                "model has no run to belong to; its checkpoint is safe in the trial's folder"
            )
        return runs[0]

    def log(self, origin: SweepOrigin, candidate: VersionCandidate, run: "Run") -> "LoggedModel":
        """A new model of a trial's run, with its files."""
        logged = self._client.create_logged_model(
            run.info.experiment_id,
            f"{origin.sweep}-{candidate.number:03d}",
            source_run_id=run.info.run_id,
            tags={SWEEP_TAG: origin.sweep, TRIAL_TAG: str(candidate.number)},
        )
        self._upload(candidate, logged, run.info.run_id)
        self._client.finalize_logged_model(logged.model_id, "READY")
        return logged

    def log_gallery(self, name: str, version: "ModelVersion", gallery: Path) -> "LoggedModel":
        """A model like a version's, with a copy of a gallery."""
        from orchestrator.tracking.packaging import save_gallery_model

        run = self._client.get_run(version.run_id)
        tags = {tag: version.tags[tag] for tag in (SWEEP_TAG, TRIAL_TAG) if tag in version.tags}
        logged = self._client.create_logged_model(
            run.info.experiment_id, name, source_run_id=version.run_id, tags=tags
        )
        with tempfile.TemporaryDirectory(prefix="prvr-model-") as folder:
            save_gallery_model(gallery, Path(folder) / "model", logged, version.run_id or "")
            self._client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
        self._client.finalize_logged_model(logged.model_id, "READY")
        return logged

    def what_is_lost(self, version: "ModelVersion") -> Literal["model", "files"] | None:
        """Whether a version has lost its model, or the model its files; None: neither."""
        from orchestrator.tracking.writer import found_model

        # A version that an older MLflow made has no model of its own.
        if not (model_id := model_id_of(version)):
            return None
        logged = found_model(self._client, model_id)
        if logged is None:
            return "model"
        has_files = bool(self._client.list_logged_model_artifacts(model_id))
        is_ours = may_write(logged.artifact_location, self._store.artifact_root)
        return None if has_files or not is_ours else "files"

    def upload_again(self, version: "ModelVersion", candidate: VersionCandidate) -> None:
        """Bring a trial's files to the model of its version, which has lost them."""
        logged = self._client.get_logged_model(model_id_of(version))
        self._upload(candidate, logged, version.run_id or "")

    def link(self, model: str, version: "ModelVersion") -> None:
        """Tag the logged model with its version, by which MLflow's pages link it with runs.

        An MLflow server does this itself.
        """
        if model_id := model_id_of(version):
            named = [{"name": model, "version": str(version.version)}]
            self._client.set_logged_model_tags(model_id, {MODEL_VERSIONS_TAG: json.dumps(named)})

    def _upload(self, candidate: VersionCandidate, logged: "LoggedModel", run_id: str) -> None:
        from orchestrator.tracking.packaging import save_model

        with tempfile.TemporaryDirectory(prefix="prvr-model-") as folder:
            save_model(candidate.export, Path(folder) / "model", logged, run_id)
            self._client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))


def model_id_of(version: "ModelVersion") -> str:
    """MLflow's id of a version's model; empty: not known."""
    found = _MODEL_ID.search(version.source or "")
    return found[1] if found else ""
