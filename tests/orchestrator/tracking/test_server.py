"""The same through an `mlflow server`, which may go away and come back."""

from pathlib import Path

import mlflow
import numpy as np
import pytest

from orchestrator.tracking.model_version import SweepOrigin, VersionCandidate
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.registry import promote, register_champion
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect
from prvr_model.files.folder import Folder
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import export_model
from prvr_model.settings import build_settings
from prvr_model.training.checkpoint import save_best
from tests.orchestrator.conftest import Server
from tests.orchestrator.tracking.fake_sweep import sweep_events
from tests.orchestrator.tracking.reading import DATA_SET, content_of, replay, runs_of, send

pytestmark = pytest.mark.soak


def filled(path: Path, num_trials: int = 3) -> Outbox:
    outbox = Outbox(path)
    for event in sweep_events(num_trials=num_trials):
        outbox.append(event)
    return outbox


def test_a_server_holds_what_sqlite_holds(
    server: Server, store: TrackingStore, tmp_path: Path
) -> None:
    outbox = filled(tmp_path / "cbva.jsonl")
    send(outbox, server.store)
    send(outbox, store)
    there = content_of(server.store, outbox)
    assert there == content_of(store, outbox)
    replay(outbox, server.store)
    assert content_of(server.store, outbox) == there


def test_what_is_deleted_on_a_server_is_restored(server: Server, tmp_path: Path) -> None:
    outbox = filled(tmp_path / "cbva.jsonl")
    send(outbox, server.store)
    before = content_of(server.store, outbox)
    client = connect(server.store)
    for trial in ("sweep", "1"):
        client.delete_run(runs_of(server.store, outbox)[trial].info.run_id)
    said: list[str] = []
    sender = mlflow_sender(outbox, server.store, DATA_SET, said.append)
    sender.start()
    assert sender.flush(60), sender.problem
    sender.stop()
    assert said == ["MLflow: the runs of the sweep and of trial 1 were deleted; restored"]
    assert content_of(server.store, outbox) == before


def test_files_go_through_the_server(server: Server, tmp_path: Path) -> None:
    outbox = filled(tmp_path / "cbva.jsonl", num_trials=1)
    send(outbox, server.store)
    run_id = runs_of(server.store, outbox)["sweep"].info.run_id
    path = connect(server.store).download_artifacts(run_id, "sweep.yaml", str(tmp_path))
    assert Path(path).read_text().startswith("name: cbva")


def test_what_was_written_in_an_outage_arrives_after_it(
    server: Server, store: TrackingStore, tmp_path: Path
) -> None:
    events = sweep_events(num_trials=3)
    outbox = Outbox(tmp_path / "cbva.jsonl")
    sender = mlflow_sender(outbox, server.store, DATA_SET)
    sender.start()
    for event in events[:12]:
        outbox.append(event)
    assert sender.flush(60)
    server.stop()
    for event in events[12:]:
        outbox.append(event)
    assert not sender.flush(1)
    assert f"MLflow at {server.store.uri} does not take results" in str(sender.problem)
    server.start()
    assert sender.flush(60)
    assert sender.problem is None
    sender.stop()
    send(outbox, store)
    assert content_of(server.store, outbox) == content_of(store, outbox)


def test_models_go_through_the_server(server: Server, tmp_path: Path) -> None:
    settings = build_settings("tvr", {"model.hidden_size": 8, "model.num_scales": 1})
    folder = Folder.open(tmp_path / "trial")
    save_best(folder, MscModel(settings.model, video_dim=4, text_dim=6), settings, epoch=1)
    export_model(folder, tmp_path / "export")
    outbox = filled(tmp_path / "cbva.jsonl")
    send(outbox, server.store)
    origin = SweepOrigin("cbva", outbox.identity, DATA_SET, "0f", "val/SumR", "maximize", "paper")
    candidates = [
        VersionCandidate(number, f"key{number}", 10.0 + number, 1, tmp_path / "export", None)
        for number in (0, 1)
    ]
    found = register_champion(server.store, origin, candidates)
    assert [(version.version, version.alias) for version in found] == [
        ("1", "champion"),
        ("2", "candidate"),
    ]
    assert register_champion(server.store, origin, candidates)[0].version == "1"
    assert promote(server.store, "prvr-builtin", "2").replaced == "1"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.store.uri)
    try:
        loaded = mlflow.pyfunc.load_model("models:/prvr-builtin@champion")
    finally:
        mlflow.set_tracking_uri(before)
    assert loaded.predict(np.ones((2, 3, 6), np.float32)).shape == (2, 8)
