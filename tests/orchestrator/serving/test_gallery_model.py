"""A registered version with a gallery: through pyfunc, and through `mlflow models serve`."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import mlflow
import pandas as pd
import pytest

from orchestrator.serving.gallery import Gallery
from orchestrator.tracking.model_version import SweepOrigin, VersionCandidate
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.registry import attach_gallery, promote, register_champion
from orchestrator.tracking.store import TrackingStore, settle_mlflow
from orchestrator.tracking.writer import connect
from prvr_model.errors import GalleryError
from tests.orchestrator.command_line import environment
from tests.orchestrator.serving.serve_process import LIMIT_S, free_port, wait_until
from tests.orchestrator.serving.served_galleries import (
    NAMES,
    export_sentence_model,
    sentence_gallery,
)
from tests.orchestrator.tracking.fake_sweep import sweep_events
from tests.orchestrator.tracking.reading import send

MODEL = "prvr-builtin"
SENTENCE = "a dog runs"


@pytest.fixture
def folder(home: Path, store: TrackingStore, tmp_path: Path) -> Path:
    """A folder with a gallery; its model is version 1."""
    outbox = Outbox(home / "outbox" / "cbva.jsonl")
    for event in sweep_events(num_trials=1, epochs=1):
        outbox.append(event)
    send(outbox, store)
    origin = SweepOrigin(
        "cbva", outbox.identity, "builtin", "0f0f", "val/SumR", "maximize", "validation"
    )
    export = export_sentence_model(tmp_path / "model")
    made = VersionCandidate(0, "key0", 100.0, 3, export, None, card="## Data")
    register_champion(store, origin, [made])
    sentence_gallery(tmp_path, NAMES[:4])
    return tmp_path


def test_a_champion_with_a_gallery_answers_sentences(
    store: TrackingStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRVR_ENCODER", str(folder / "encoder"))
    gallery = Gallery.open(folder / "my.gallery", encoder=folder / "encoder")
    version = attach_gallery(store, MODEL, "1", folder / "my.gallery")
    assert version == "2"
    done = promote(store, MODEL, version)
    assert (done.version, done.replaced) == ("2", "1")
    assert done.description.endswith("; version 1 with the gallery my.gallery")
    there = connect(store).get_model_version(MODEL, "2")
    assert there.description == f"{done.description}\n\n## Data"
    loaded = mlflow.pyfunc.load_model(there.source)
    assert len(loaded.predict(loaded.input_example)) == 4
    found = loaded.predict(pd.DataFrame({"query": [SENTENCE, "a cat"]}), params={"top": 3})
    assert list(found.columns) == ["question", "rank", "video", "score", "start_s", "end_s"]
    assert found["question"].tolist() == [0, 0, 0, 1, 1, 1]
    wanted = gallery.query(SENTENCE, top=3)
    assert found["video"][:3].tolist() == [answer.video for answer in wanted]
    assert found["start_s"][:3].tolist() == [answer.start_s for answer in wanted]
    (tokens,) = gallery.encoder.encode_captions([SENTENCE])
    table = pd.DataFrame({"tokens": [tokens.astype(float).tolist()]})
    by_tokens = loaded.predict(table, params={"top": 3})
    assert by_tokens["video"].tolist() == [answer.video for answer in wanted]


def test_a_gallery_of_another_model_is_refused(
    store: TrackingStore, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    export_sentence_model(other / "model", seed=1)
    gallery = sentence_gallery(other, NAMES[:1])
    with pytest.raises(GalleryError) as caught:
        attach_gallery(store, MODEL, "1", gallery)
    start = f"{gallery} was made by another model (models:/tiny/1) than {MODEL} version 1: "
    assert str(caught.value).startswith(f"{start}weights_sha256: ")
    assert str(caught.value).endswith(f"; build it with models:/{MODEL}/1")


@pytest.mark.soak
def test_mlflow_serves_it_over_http(store: TrackingStore, folder: Path) -> None:
    promote(store, MODEL, attach_gallery(store, MODEL, "1", folder / "my.gallery"))
    port = free_port()
    own = {
        **environment(),
        "MLFLOW_TRACKING_URI": store.uri,
        "PRVR_ENCODER": str(folder / "encoder"),
        # MLflow starts uvicorn by its name: the environment is active.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    settle_mlflow(own)
    line = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL}@champion"]
    line += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "mlflow.txt").open("w") as log:
        server = subprocess.Popen(
            line, env=own, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(address) or server.poll() is not None)
        body = {"dataframe_records": [{"query": SENTENCE}], "params": {"top": 2}}
        found = httpx.post(f"{address}/invocations", json=body, timeout=LIMIT_S).json()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(LIMIT_S)
    gallery = Gallery.open(folder / "my.gallery", encoder=folder / "encoder")
    wanted = gallery.query(SENTENCE, top=2)
    videos = [answer["video"] for answer in found["predictions"]]
    assert videos == [answer.video for answer in wanted]


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ping", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
