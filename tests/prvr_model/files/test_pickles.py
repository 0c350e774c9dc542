"""A pickle in place of any file that we read is refused by the file's name, and nothing runs."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch

from prvr_model.errors import CheckpointError, DataError, PrvrError, StoreError
from prvr_model.files.array_files import ArrayWriter
from prvr_model.files.folder import Folder
from prvr_model.inputs.prepared_cache import FrozenCache
from prvr_model.inputs.prepared_split import prepare_split
from prvr_model.network.model_file import export_model, load_best, load_exported
from prvr_model.network.released_weights import read_released_file
from prvr_model.retrieval.caption_embedder import CaptionEmbedder
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from prvr_model.training.checkpoint import load_last, read_state, save_best
from prvr_model.training.optimizer import BertAdam
from tests.prvr_model.files.attack import Attack, attack
from tests.prvr_model.store.corpora import import_msc, tiny_corpus
from tests.prvr_model.tiny import TINY_DATA, tiny_model, tiny_settings


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What an attack that succeeds would leave."""
    path = tmp_path / "attacked"
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def written_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    write_synthetic(path, TINY_DATA)
    return path


@pytest.fixture
def store(written_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written_store, tmp_path / "store"))


def _load_last(folder: Folder) -> object:
    settings = tiny_settings()
    model = tiny_model(settings)
    optimizer = BertAdam([], [], settings.optimizer, 10)
    return load_last(folder, model, optimizer, settings, "0" * 64)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("last.safetensors", _load_last),
        ("last.safetensors", read_state),
        ("best.safetensors", load_best),
        ("best.safetensors", lambda folder: export_model(folder, Path(folder.path) / "export")),
    ],
)
def test_own_checkpoints(
    tmp_path: Path, marker: Path, name: str, read: Callable[[Folder], object]
) -> None:
    (tmp_path / name).write_bytes(attack(marker))
    with pytest.raises(CheckpointError, match=f"{tmp_path}/{name}: is damaged"):
        read(Folder.open(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_an_exported_or_registered_model(tmp_path: Path, marker: Path, name: str) -> None:
    # What a version of the registry holds is this folder, read by the same function.
    settings = tiny_settings()
    save_best(Folder.open(tmp_path), tiny_model(settings), settings, epoch=1)
    export_model(Folder.open(tmp_path), tmp_path / "export")
    (tmp_path / "export" / name).write_bytes(attack(marker))
    for read in (load_exported, CaptionEmbedder.load):
        with pytest.raises(CheckpointError, match=f"export: is not an exported model: {name}"):
            read(tmp_path / "export")


def test_an_exported_model_without_its_description(tmp_path: Path) -> None:
    settings = tiny_settings()
    save_best(Folder.open(tmp_path), tiny_model(settings), settings, epoch=1)
    export_model(Folder.open(tmp_path), tmp_path / "export")
    for header in ("{}", "[]", '{"settings": {"model": {"hidden_size": "large"}}}'):
        (tmp_path / "export" / "config.json").write_text(header)
        with pytest.raises(CheckpointError, match="export: does not say what model it holds"):
            load_exported(tmp_path / "export")


@pytest.mark.parametrize("form", ["pickle", "torch", "torch before 1.6"])
def test_a_released_checkpoint(tmp_path: Path, marker: Path, form: str) -> None:
    path = tmp_path / "released.ckpt"
    content = {"state_dict": {"weight_token": torch.zeros(1)}, "extra": Attack(marker)}
    if form == "pickle":
        path.write_bytes(attack(marker))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(CheckpointError, match=r"released\.ckpt: cannot be read as tensors only"):
        read_released_file(path)


def _claim(store: Path, name: str) -> None:
    """Let the manifest say that a file has the size it has."""
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["files"][name]["size_bytes"] = (store / name).stat().st_size
    (store / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["train.videos.arrow", "val.captions.arrow"])
@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_file_of_a_store(store: Path, marker: Path, name: str, is_claimed: bool) -> None:
    (store / name).write_bytes(attack(marker))
    if is_claimed:
        _claim(store, name)
    with pytest.raises(StoreError, match=name):
        FeatureStore.open(store).split(name.partition(".")[0])


def test_a_manifest(store: Path, marker: Path) -> None:
    (store / "manifest.json").write_bytes(attack(marker))
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        FeatureStore.open(store)


def test_an_arrow_type_that_carries_a_pickle(store: Path, marker: Path) -> None:
    # Older versions of pyarrow unpickled types of this name as they opened the file.
    path = store / "val.captions.arrow"
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    evil = {b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": attack(marker)}  # fmt: skip
    schema = table.schema.set(0, table.schema.field(0).with_metadata(evil))
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_table(table.cast(schema))
    _claim(store, path.name)
    # The numbers are as they were: nothing has to be refused, and nothing may run.
    assert len(FeatureStore.open(store).split("val").caption_ids) > 0


@pytest.mark.parametrize("form", ["pickle", "array of objects"])
def test_a_prepared_array(store: Path, marker: Path, form: str) -> None:
    opened = FeatureStore.open(store)
    prepare_split(opened, "val", tiny_settings())
    file = next((store / "prepared").rglob("*.npy"))
    if form == "pickle":
        file.write_bytes(attack(marker))
    else:
        np.save(file, np.array([Attack(marker)], dtype=object), allow_pickle=True)
    _declare_whole(file.parent)
    with pytest.raises(StoreError, match=f"{file} is not an array of numbers.*remove the folder"):
        prepare_split(opened, "val", tiny_settings())


def _declare_whole(folder: Path) -> None:
    """Let the list of contents say that the files are as they were written."""
    contents = {path.name: {"size_bytes": path.stat().st_size, "parts": []} for path in
                folder.glob("*.npy")}  # fmt: skip
    (folder / "contents.json").write_text(json.dumps(contents))


def test_prepared_arrays_of_another_user(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 123_456)
    (tmp_path / "prvr-prepared-123456").mkdir()
    (store / "prepared").write_text("in the way, as on a store that cannot be written")

    def build(writer: ArrayWriter) -> None:
        raise AssertionError("nothing is to be built there")

    with pytest.raises(StoreError, match="prvr-prepared-123456 is not yours alone"):
        FrozenCache(store, "f" * 64).arrays("a", {}, build)


@pytest.mark.parametrize("part", ["video", "text"])
def test_hdf5_features(tmp_path: Path, marker: Path, part: str) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "corpus")
    path = corpus.video_path(root) if part == "video" else corpus.text_path(root)
    path.write_bytes(attack(marker))
    _refused(root, tmp_path, path.name)


@pytest.mark.parametrize("what", ["item", "attribute"])
def test_a_pickle_within_hdf5(tmp_path: Path, marker: Path, what: str) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "corpus")
    with h5py.File(corpus.video_path(root), "a") as file:
        if what == "attribute":
            file["a"].attrs["pickle"] = np.void(attack(marker))
        else:
            del file["a"]
            file["a"] = np.void(attack(marker))
    if what == "item":
        _refused(root, tmp_path, corpus.video_path(root).name)
    else:
        import_msc(root, "tiny", tmp_path / "new")


def test_captions(tmp_path: Path, marker: Path) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "corpus")
    path = corpus.caption_path(root, "train")
    path.write_bytes(attack(marker))
    _refused(root, tmp_path, path.name)


def _refused(root: Path, folder: Path, name: str) -> None:
    with pytest.raises(PrvrError, match=name) as caught:
        import_msc(root, "tiny", folder / "new")
    assert isinstance(caught.value, DataError)
    assert not (folder / "new").exists()
