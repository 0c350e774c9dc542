"""Names that come from data lead to no file outside of the store, nor of the file that has them."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from prvr_model.errors import DataError, StoreError
from prvr_model.store.format import read_manifest
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.prvr_model.store.corpora import VIDEO_DIM, MscCorpus, import_msc, tiny_corpus


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    write_synthetic(path, SyntheticSettings(train_videos=2, val_videos=2, test_videos=2))
    return path


@pytest.mark.parametrize("name", ["../other/val", "/etc/val", "val/../../val", "", "validation"])
def test_a_split_of_a_manifest_names_no_other_file(store: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(store, tmp_path / "other")
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["splits"][name] = manifest["splits"]["val"]
    for kind in ("videos", "captions"):
        manifest["files"][f"{name}.{kind}.arrow"] = manifest["files"][f"val.{kind}.arrow"]
    (store / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"manifest\.json is damaged \(at splits: .*train, val"):
        FeatureStore.open(store)


@pytest.mark.parametrize("name", ["../other/val.videos.arrow", "/etc/passwd", "notes.txt"])
def test_a_file_of_a_manifest_is_one_of_a_store(store: Path, name: str) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["val.videos.arrow"]
    (store / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"manifest\.json is damaged \(at files: "):
        FeatureStore.open(store)


@pytest.mark.parametrize("fingerprint", ["../../elsewhere", "/tmp/elsewhere", "", "0" * 63])
def test_a_fingerprint_names_no_other_folder(store: Path, fingerprint: str) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps({**manifest, "fingerprint": fingerprint}))
    with pytest.raises(StoreError, match=r"manifest\.json is damaged \(at fingerprint\)"):
        read_manifest(store)


def test_ids_of_videos_and_captions_are_never_paths(tmp_path: Path) -> None:
    # HDF5 takes `a/b` for a group; a dot alone is its own name for the same group.
    corpus = tiny_corpus({"train": ["..\\..\\a", "..%2fb"], "val": ["~c"], "test": ["$HOME"]})
    root = corpus.write(tmp_path / "corpus")
    before = {path for path in tmp_path.rglob("*") if tmp_path / "new" not in path.parents}
    import_msc(root, "tiny", tmp_path / "new")
    there = {path for path in tmp_path.rglob("*") if tmp_path / "new" not in path.parents}
    assert there - before == {tmp_path / "new"}
    files = {path.name for path in (tmp_path / "new").iterdir()}
    kinds = ("videos", "captions")
    expected = {f"{split}.{kind}.arrow" for split in ("train", "val", "test") for kind in kinds}
    assert files == expected | {"manifest.json"}
    assert FeatureStore.open(tmp_path / "new").split("train").video_ids == corpus_ids(corpus)


def corpus_ids(corpus: MscCorpus) -> tuple[str, ...]:
    ids = (line.partition("#")[0] for line in corpus.captions["train"])
    return tuple(dict.fromkeys(ids))


@pytest.mark.parametrize("how", ["external link", "link of a group", "external bytes", "virtual"])
def test_hdf5_takes_no_bytes_from_other_files(tmp_path: Path, how: str) -> None:
    video = "g/a" if how == "link of a group" else "a"
    corpus = tiny_corpus({"train": ["b", video], "val": ["c"], "test": ["d"]})
    root = corpus.write(tmp_path / "corpus")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["a"] = np.ones((3, VIDEO_DIM), np.float16)
    with h5py.File(corpus.video_path(root), "a") as file:
        del file[video.partition("/")[0]]
        _borrow(file, tmp_path / "other.h5", how)
    with pytest.raises(DataError, match=f"'{video}' lies in another file, which is not followed"):
        import_msc(root, "tiny", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def _borrow(file: h5py.File, other: Path, how: str) -> None:
    shape = (3, VIDEO_DIM)
    if how == "external link":
        file["a"] = h5py.ExternalLink(str(other), "/a")
    elif how == "link of a group":
        file["g"] = h5py.ExternalLink(str(other), "/")
    elif how == "external bytes":
        file.create_dataset("a", shape, np.float16, external=[(str(other), 0, 36)])
    else:
        layout = h5py.VirtualLayout(shape, np.float16)
        layout[:] = h5py.VirtualSource(str(other), "a", shape)
        file.create_virtual_dataset("a", layout)
