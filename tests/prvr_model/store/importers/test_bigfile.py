"""BigFiles: each fault of an index has its own sentence; nothing in it is run."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from prvr_model.store.importers import bigfile_features
from prvr_model.store.importers.bigfile_features import open_bigfile
from prvr_model.store.importers.problems import Problems
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.store.importers.every_layout import (
    VIDEO_DIM,
    small_corpus,
    write_bigfile,
    written,
)
from tests.prvr_model.store.importers.test_layouts import imported, refusal

VIDEOS = {"train": {"a": 3, "b": 2}, "val": {"c": 2}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return written("bigfile", small_corpus(VIDEOS), tmp_path / "root")


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("shape.txt", lambda _: "7", "damaged index: {file} holds '7', expected rows and columns"),
        (
            "shape.txt",
            lambda _: "8 6",
            "truncated file: {bin} has 168 bytes, 8 rows of 6 float32 numbers take 192: copy or "
            "download it again",
        ),
        ("shape.txt", lambda _: "6 6", "damaged index: {bin} has 168 bytes, 6 rows of 6 float32"),
        (
            "id.txt",
            lambda text: text.replace("a_0", "a_1"),
            "damaged index: {file} has 7 names, 6 different ones, for 7 rows",
        ),
        (
            "id.txt",
            lambda text: f"{text}\nx_0",
            "damaged index: {file} has 8 names, 8 different ones, for 7 rows",
        ),
        (
            "id.txt",
            lambda text: text.replace("a_0", "x_0"),
            "missing frames: FeatureData/i3d_resnet: 1 of the 3 frames of 'a' in video2frames.txt "
            "are not in id.txt",
        ),
        (
            "video2frames.txt",
            lambda text: text.replace("'b'", "'a'"),
            "duplicate id: {file} names video 'a' twice",
        ),
        (
            "video2frames.txt",
            lambda text: text[:-9],
            "damaged index: {file} holds \" 'c': ['c_0'\" at character 49, expected a Python "
            "dictionary {{'video': ['frame', ...], ...}}",
        ),
        (
            "video2frames.txt",
            lambda _: "['a']",
            "damaged index: {file} holds \"['a']\" at character 0, expected a Python dictionary",
        ),
        (
            "video2frames.txt",
            lambda text: text.replace("['b_0', 'b_1']", "[open('x', 'w')]"),
            "damaged index: {file} holds",
        ),
        (
            "video2frames.txt",
            lambda text: text.replace("'b_1'", "name.attribute"),
            "damaged index: {file} holds",
        ),
    ],
)
def test_a_damaged_index(root: Path, file: str, change: Callable[[str], str], problem: str) -> None:
    folder = root / "FeatureData" / "i3d_resnet"
    edit(folder / file, change)
    found = refusal("bigfile", root)[0]
    assert found.startswith(problem.format(file=folder / file, bin=folder / "feature.bin"))


def test_a_video_that_is_not_in_the_index(root: Path) -> None:
    path = root / "FeatureData" / "i3d_resnet" / "video2frames.txt"
    edit(path, lambda text: text.replace("'b':", "'other':"))
    assert refusal("bigfile", root)[:2] == (
        "hint: FeatureData/i3d_resnet: nothing there has a name like 'b'; 'other' is a video of "
        "2 frames",
        "caption without video: 'b#enc#2' (tinytrain.caption.txt:3): FeatureData/i3d_resnet has "
        "no video 'b' (tried b, v_b)",
    )


def test_an_index_beyond_the_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigfile_features, "MAX_INDEX_BYTES", 20)
    assert refusal("bigfile", root)[0].endswith("id.txt has 0.0 MiB, at most 0.0 MiB are read")


def test_a_folder_without_an_index(root: Path) -> None:
    (root / "FeatureData" / "i3d_resnet" / "id.txt").unlink()
    assert refusal("bigfile", root)[0].endswith("i3d_resnet/id.txt: No such file or directory")


def test_names_of_another_age_and_frames_in_one_line(tmp_path: Path) -> None:
    """ISO-8859-1 is read, as are names that a space parts, and a file without an end of line."""
    corpus = small_corpus({"train": {"Müll": 2}, "val": {"é": 3}})
    root = written("bigfile", corpus, tmp_path / "root")
    again = root / "FeatureData" / "latin"
    write_bigfile(again, corpus.frames, "iso-8859-1")
    edit_bytes = (again / "id.txt").read_bytes().replace(b"\n", b" ")
    (again / "id.txt").write_bytes(edit_bytes)
    stores = [
        imported("bigfile", root, tmp_path / name, video_features=name).manifest.fingerprint
        for name in ("i3d_resnet", "latin")
    ]
    assert stores[0] == stores[1]


@pytest.mark.parametrize(
    "text",
    [
        "{'a': ['a_0', \"it's\"], \"b\" : ('x\\'y',)}\n",
        "{u'a': [u'a_0', 'b]}'], 'b\\n{': [],}",
        "{ }",
        "{'a': [1, 2]}",
    ],
)
def test_every_form_of_the_dictionary_is_read_as_python_reads_it(tmp_path: Path, text: str) -> None:
    write_bigfile(tmp_path / "f", {"a": np.ones((1, VIDEO_DIM))})
    (tmp_path / "f" / "video2frames.txt").write_text(text)
    expected = {video: len(frames) for video, frames in ast.literal_eval(text).items()}
    with open_bigfile(tmp_path / "f", problems := Problems()) as features:
        assert features is not None, problems.lines()
        assert {video: len(rows) for video, rows in features.rows.items()} == expected


def test_frames_come_in_the_order_of_the_index(root: Path, tmp_path: Path) -> None:
    path = root / "FeatureData" / "i3d_resnet" / "video2frames.txt"
    edit(path, lambda text: text.replace("['a_0', 'a_1', 'a_2']", "['a_2', 'a_0']"))
    store = FeatureStore.open(imported("bigfile", root, tmp_path / "store").store)
    np.testing.assert_array_equal(
        store.split("train").frames(0), small_corpus(VIDEOS).frames["a"][[2, 0]]
    )
