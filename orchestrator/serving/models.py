"""Finds the model that a user names: a registered version, a trial, or an exported folder."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.base.addresses import home_folder, user_path
from orchestrator.base.errors import QueryError
from orchestrator.base.text import DEFAULT_HOME
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.tracking.downloads import MODEL_SCHEME, fetch_version
from orchestrator.tracking.store import TrackingStore
from prvr_model.files.folder import Folder
from prvr_model.network.model_file import export_model
from prvr_model.retrieval.caption_embedder import CaptionEmbedder

_TRIAL = re.compile(r"([^/\s]+)/(\d+)")


@dataclass(frozen=True)
class FoundModel:
    """An exported model on this machine.

    Args:
        export: Folder as `export_model` wrote it.
        source: What names it; of a registered model the exact version.
        study: Of a trial, the study of its sweep.
    """

    export: Path
    source: str
    study: StudyReader | None = None


@contextmanager
def named_model(
    reference: str, home: Path, tracking: TrackingStore, also: str = ""
) -> Iterator[FoundModel]:
    """The model that a reference names, for the time of the block.

    Args:
        reference: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a trial `SWEEP/NUMBER`, or a folder
            with `config.json` and `model.safetensors`.
        home: Home of the trial's sweep.
        tracking: Where MLflow keeps models.
        also: What the caller allows beside these, for the message.

    Raises:
        QueryError: The reference is none of these.
        SweepNotFoundError: There is no such sweep.
        CheckpointError: The trial has no weights any more.
        RegistryError: There is no such model, alias or version.
    """
    folder = None if reference.startswith(MODEL_SCHEME) else user_path(reference)
    if folder is not None and (folder / "config.json").is_file():
        yield FoundModel(folder, reference)
        return
    with tempfile.TemporaryDirectory(prefix="prvr-model-") as temporary:
        target = Path(temporary)
        if folder is None:
            version = fetch_version(tracking, reference, target)
            yield FoundModel(version.export, version.uri)
        elif trial := _TRIAL.fullmatch(reference):
            study = StudyReader.open(study_url(home), trial[1])
            export_model(_trial_folder(study, int(trial[2])), target)
            yield FoundModel(target, reference, study)
        else:
            raise QueryError(
                f"model: found {reference!r}; allowed: {also}models:/NAME@champion, a trial "
                "SWEEP/NUMBER, or a folder with config.json and model.safetensors"
            )


def _trial_folder(study: StudyReader, number: int) -> Folder:
    trials = study.summaries()
    if number >= len(trials) or not trials[number].folder:
        trained = [str(trial.number) for trial in trials if trial.folder]
        raise QueryError(
            f"model: sweep {study.name!r} has no trained trial {number}; trained: "
            f"{', '.join(trained) or 'none'}"
        )
    return Folder.open(trials[number].folder)


@dataclass(frozen=True)
class Champion:
    """The champion of a registered model, or another version of it.

    Args:
        source: `models:/NAME/VERSION`.
        embedder: Its caption side.
    """

    source: str
    embedder: CaptionEmbedder

    def embed(self, captions: list[np.ndarray]) -> np.ndarray:
        """Query vectors of norm 1, (captions, hidden), of token features, (L, text_dim) each."""
        return self.embedder.embed_each(captions)


def load_champion(
    name: str, home: str | Path = DEFAULT_HOME, *, tracking_uri: str | None = None
) -> Champion:
    """Load the champion of a registered model.

    Args:
        name: Name of the model, as `promote` takes it.
        home: Home whose MLflow is asked.
        tracking_uri: Another MLflow.

    Raises:
        RegistryError: There is no such model, or it has no champion.
        TrackingOutageError: MLflow cannot be reached.
    """
    folder = home_folder(home)
    store = TrackingStore.of(tracking_uri, folder)
    with named_model(f"{MODEL_SCHEME}{name}@champion", folder, store) as model:
        return Champion(model.source, CaptionEmbedder.load(model.export))
