"""Checkpoint files: damaged ones are refused by name, exported models are whole."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from prvr_model.errors import CheckpointError, PrvrError
from prvr_model.files.checkpoint_header import LAST
from prvr_model.files.folder import Folder
from prvr_model.network.model_file import export_model, load_best, load_exported
from prvr_model.reporting import Decision
from prvr_model.settings import ADDED_SETTINGS, Settings
from prvr_model.store.reader import FeatureStore
from prvr_model.training.checkpoint import BEST, load_last, read_state
from prvr_model.training.train_loop import build_optimizer, train
from tests.prvr_model.tiny import tiny_model, tiny_settings


@pytest.fixture(scope="module")
def trained(tiny_store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a trial of one epoch."""
    folder = Folder.open(tmp_path_factory.mktemp("trial"))
    settings = tiny_settings(training__epochs=1)
    train(settings, FeatureStore.open(tiny_store_path), folder, lambda _: Decision.CONTINUE)
    return {name: folder.read_bytes(name) for name in (LAST, BEST)}


@pytest.fixture
def folder(tmp_path: Path, trained: dict[str, bytes]) -> Folder:
    folder = Folder.open(tmp_path / "trial")
    for name, content in trained.items():
        folder.write_bytes(name, content)
    return folder


@pytest.mark.parametrize("share", [0.0, 1e-5, 1e-4, 0.01, 0.3, 0.9, 0.99999])
def test_a_truncated_checkpoint_is_refused_by_name(
    folder: Folder, tiny_store: FeatureStore, share: float
) -> None:
    for name in (LAST, BEST):
        content = folder.read_bytes(name)
        folder.write_bytes(name, content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"last\.safetensors: is damaged"):
        train(tiny_settings(), tiny_store, folder, lambda _: Decision.CONTINUE)
    with pytest.raises(CheckpointError, match=r"best\.safetensors: is damaged"):
        load_best(folder)


GARBAGE = {
    "text": b"this is not a checkpoint, but long enough to be read as one",
    "zeros": bytes(4096),
    "pickle": b"\x80\x04K\x01." * 10,
    "another program's": save({"weight": torch.zeros(3)}),
    "a list": (6).to_bytes(8, "little") + b"[1, 2]",
    "no object": save({"weight": torch.zeros(3)}, metadata={"prvr_sweep": "[]"}),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_refused_by_name(folder: Folder, tiny_store: FeatureStore, kind: str) -> None:
    for name in (LAST, BEST):
        folder.write_bytes(name, GARBAGE[kind])
    with pytest.raises(CheckpointError, match=r"last\.safetensors: "):
        train(tiny_settings(), tiny_store, folder, lambda _: Decision.CONTINUE)
    with pytest.raises(CheckpointError, match=r"best\.safetensors: "):
        load_best(folder)


def test_a_later_format_is_refused(folder: Folder) -> None:
    content = save({}, metadata={"prvr_sweep": json.dumps({"format_version": 2})})
    folder.write_bytes(LAST, content)
    with pytest.raises(CheckpointError, match="has format version 2, this program reads 1"):
        read_state(folder)


def test_a_checkpoint_from_before_a_setting_continues_where_the_default_means_the_same(
    folder: Folder, tiny_store: FeatureStore
) -> None:
    content = folder.read_bytes(LAST)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    about = json.loads(header["prvr_sweep"])
    for path in ADDED_SETTINGS:
        section, _, key = path.partition(".")
        del about["settings"][section][key]
    folder.write_bytes(LAST, save(load(content), metadata={"prvr_sweep": json.dumps(about)}))
    with pytest.raises(CheckpointError, match=r"losses\.ignore_relevant is False, wanted True"):
        load_with(folder, tiny_settings(losses__ignore_relevant=True), tiny_store)
    assert load_with(folder, tiny_settings(), tiny_store) == 1


def load_with(folder: Folder, settings: Settings, store: FeatureStore) -> int:
    """The epoch from which training with some settings would continue."""
    model = tiny_model(settings)
    optimizer = build_optimizer(model, settings, 12)
    return load_last(folder, model, optimizer, settings, store.manifest.fingerprint).epoch


def test_no_checkpoint_is_the_beginning_for_training_and_an_error_for_evaluation(
    tmp_path: Path,
) -> None:
    empty = Folder.open(tmp_path / "empty")
    assert read_state(empty).epoch == 0
    with pytest.raises(CheckpointError, match="no epoch of this trial ended"):
        load_best(empty)
    with pytest.raises(PrvrError):
        export_model(empty, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_an_exported_model_is_the_best_one(folder: Folder, tmp_path: Path) -> None:
    export_model(folder, tmp_path / "export")
    assert {path.name for path in (tmp_path / "export").iterdir()} == {
        "model.safetensors",
        "config.json",
    }
    config = json.loads((tmp_path / "export" / "config.json").read_text())
    best, exported = load_best(folder), load_exported(tmp_path / "export")
    assert (config["video_dim"], config["text_dim"], config["epoch"]) == (12, 10, 1)
    assert exported.settings == best.settings == tiny_settings(training__epochs=1)
    ours = exported.build(torch.device("cpu"))
    assert not ours.training
    for name, tensor in best.build(torch.device("cpu")).state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name])


def test_a_damaged_export_is_refused(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not an exported model"):
        load_exported(tmp_path / "nowhere")
    export_model(folder, tmp_path / "export")
    weights = tmp_path / "export" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="export: is not an exported model"):
        load_exported(tmp_path / "export")
