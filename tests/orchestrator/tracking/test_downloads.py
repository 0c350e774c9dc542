"""Registered versions and trials are found by what a user calls them, with their weights."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.base.errors import QueryError, RegistryError
from orchestrator.serving import models
from orchestrator.serving.models import load_champion, named_model
from orchestrator.tracking.downloads import fetch_version
from orchestrator.tracking.model_version import SweepOrigin, VersionCandidate
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.registry import register_champion
from orchestrator.tracking.store import TrackingStore
from prvr_model.files.folder import Folder
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import export_model
from prvr_model.retrieval.caption_embedder import CaptionEmbedder
from prvr_model.training.checkpoint import save_best
from tests.orchestrator.tracking.fake_sweep import sweep_events
from tests.orchestrator.tracking.reading import send
from tests.prvr_model.tiny import TEXT_DIM, VIDEO_DIM, tiny_settings

MODEL = "prvr-builtin"


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    settings = tiny_settings()
    model = MscModel(settings.model, VIDEO_DIM, TEXT_DIM)
    save_best(Folder.open(tmp_path / "trial"), model, settings, epoch=3)
    export_model(Folder.open(tmp_path / "trial"), tmp_path / "export")
    return tmp_path / "trial"


@pytest.fixture
def registered(home: Path, store: TrackingStore, trial: Path) -> TrackingStore:
    outbox = Outbox(home / "outbox" / "cbva.jsonl")
    for event in sweep_events(num_trials=2, epochs=1):
        outbox.append(event)
    send(outbox, store)
    origin = SweepOrigin("cbva", outbox.identity, "builtin", "0f", "val/SumR", "maximize", "test")
    export = trial.parent / "export"
    candidates = [VersionCandidate(n, f"key{n}", 9.0 - n, 3, export, None) for n in range(2)]
    register_champion(store, origin, candidates)
    return store


def test_a_version_comes_with_its_weights_by_alias_and_number(
    registered: TrackingStore, trial: Path, home: Path, tmp_path: Path
) -> None:
    champion = fetch_version(registered, f"models:/{MODEL}@champion", tmp_path / "a")
    second = fetch_version(registered, f"models:/{MODEL}/2", tmp_path / "b")
    assert (champion.uri, second.uri) == (f"models:/{MODEL}/1", f"models:/{MODEL}/2")
    weights = (trial.parent / "export" / "model.safetensors").read_bytes()
    for version in (champion, second):
        assert (version.export / "model.safetensors").read_bytes() == weights
    loaded = load_champion(MODEL, home, tracking_uri=registered.uri)
    tokens = [np.ones((3, TEXT_DIM), np.float32)]
    wanted = CaptionEmbedder.load(trial.parent / "export").embed_each(tokens)
    np.testing.assert_array_equal(loaded.embed(tokens), wanted)
    assert loaded.source == f"models:/{MODEL}/1"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models:/prvr-built@champion", "no model 'prvr-built' .*did you mean prvr-builtin"),
        (f"models:/{MODEL}@champ", "no alias 'champ'; aliases: candidate, champion"),
        (f"models:/{MODEL}/7", f"no version '7' of {MODEL} in .*versions: 1, 2"),
        (f"models:/{MODEL}", "allowed: models:/NAME@ALIAS or models:/NAME/VERSION"),
    ],
)
def test_what_is_not_registered_is_told(
    registered: TrackingStore, tmp_path: Path, reference: str, message: str
) -> None:
    with pytest.raises(RegistryError, match=message):
        fetch_version(registered, reference, tmp_path / "a")


def test_a_trial_is_named_by_sweep_and_number(
    store: TrackingStore, trial: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [SimpleNamespace(number=0, folder=str(trial)), SimpleNamespace(number=1, folder="")]
    study = SimpleNamespace(name="cbva", summaries=lambda: trials)
    monkeypatch.setattr(models.StudyReader, "open", lambda *_: study)
    with named_model("cbva/0", home, store) as model:
        wanted = (trial.parent / "export" / "model.safetensors").read_bytes()
        assert (model.export / "model.safetensors").read_bytes() == wanted
        assert model.source == "cbva/0"
    assert not model.export.exists()
    for number in (1, 2):
        with (
            pytest.raises(QueryError, match=f"has no trained trial {number}; trained: 0"),
            named_model(f"cbva/{number}", home, store),
        ):
            pass
