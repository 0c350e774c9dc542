"""The layout of Moment-DETR: kinds of features side by side, pieces of videos, moments."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from prvr_model.store.reader import FeatureStore, StoreSplit
from tests.prvr_model.store.importers.every_layout import (
    SLOWFAST_DIM,
    VIDEO_DIM,
    SmallCorpus,
    highlight,
    small_corpus,
    write_highlights,
    write_npz,
    written,
)
from tests.prvr_model.store.importers.test_layouts import imported, refusal

PIECES = {
    "train": {"_x_1_y_60.0_210.0": 75, "_x_1_y_0.0_60.0": 30, "b_0.0_150.0": 4},
    "val": {"c_210.0_360.0": 3},
}


def corpus_at(root: Path, **of_line: object) -> SmallCorpus:
    """A corpus of pieces with a caption each; `of_line` goes into each line."""
    corpus = small_corpus(PIECES, captions_per_video=1)
    written("moment-detr", corpus, root)
    write_highlights(root / "data", [highlight(caption, **of_line) for caption in corpus.captions])
    return corpus


def train(root: Path, target: Path, **choices: object) -> StoreSplit:
    return FeatureStore.open(imported("moment-detr", root, target, **choices).store).split("train")


def test_moments_and_durations_are_kept(tmp_path: Path) -> None:
    corpus_at(tmp_path / "root", duration=150, relevant_windows=[[2, 6], [100, 150]])
    report = imported("moment-detr", tmp_path / "root", tmp_path / "store")
    split = FeatureStore.open(report.store).split("train")
    assert split.durations_s[0] == 150
    assert split.moments[2] == [[2, 6], [100, 150]]
    assert report.manifest.seconds_per_row == 2
    assert report.notes[:1] == ("columns of videos: slowfast_features, then clip_features",)


def test_pieces_are_joined_by_their_starts(tmp_path: Path) -> None:
    """Piece 0 to 60 s is named second: its rows come first, the other's moments move behind it."""
    corpus = corpus_at(tmp_path / "root", relevant_windows=[[2, 6]])
    split = train(tmp_path / "root", tmp_path / "store", join_pieces=True)
    assert list(split.video_ids) == ["_x_1_y", "b"]
    assert list(split.caption_ids) == ["_x_1_y#enc#0", "_x_1_y#enc#1", "b#enc#2"]
    joined = [corpus.frames[f"_x_1_y_{piece}"] for piece in ("0.0_60.0", "60.0_210.0")]
    np.testing.assert_array_equal(split.frames(0), np.concatenate(joined))
    assert list(split.moments) == [[[62, 66]], [[2, 6]], [[2, 6]]]
    assert np.isnan(split.durations_s).all()


def test_lengths_of_pieces_add_up(tmp_path: Path) -> None:
    corpus_at(tmp_path / "root", duration=61.5, relevant_windows=[[2, 6]])
    split = train(tmp_path / "root", tmp_path / "store", join_pieces=True)
    assert split.durations_s.tolist() == [123, 61.5]
    assert split.moments[0] == [[63.5, 67.5]]


def test_a_name_that_is_no_piece(tmp_path: Path) -> None:
    corpus = small_corpus({"train": {"a": 1}, "val": {"b": 2}}, 1)
    root = written("moment-detr", corpus, tmp_path / "root")
    problem = refusal("moment-detr", root, join_pieces=True)[0]
    assert problem.startswith("malformed caption line: highlight_train_release.jsonl:1 starts with")
    assert problem.endswith(
        "expected a JSON object with qid, query and vid, perhaps duration and relevant_windows; "
        "--join-pieces takes a vid as <YouTube id>_<start>_<end>"
    )


def test_uneven_kinds_are_cut_a_little_and_refused_beyond(tmp_path: Path) -> None:
    root = tmp_path / "root"
    corpus = corpus_at(root)
    folder = root / "features" / "clip_features"
    clip = {video: rows[:, SLOWFAST_DIM:] for video, rows in corpus.frames.items()}
    write_npz(folder, "features", {"_x_1_y_60.0_210.0": clip["_x_1_y_60.0_210.0"][:-2]})
    split = train(root, tmp_path / "store")
    np.testing.assert_array_equal(split.frames(0), corpus.frames["_x_1_y_60.0_210.0"][:-2])
    write_npz(folder, "features", {"_x_1_y_60.0_210.0": clip["_x_1_y_60.0_210.0"][:-3]})
    assert refusal("moment-detr", root) == (
        "uneven features: '_x_1_y_60.0_210.0' has rows of other rates: 75 in slowfast_features, 72 "
        "in clip_features",
    )


def test_a_kind_that_lacks_a_video(tmp_path: Path) -> None:
    corpus_at(tmp_path / "root")
    (tmp_path / "root" / "features" / "clip_features" / "c_210.0_360.0.npz").unlink()
    assert refusal("moment-detr", tmp_path / "root") == (
        "missing key: 'c_210.0_360.0' is not in clip_features",
    )


def test_kinds_are_chosen_and_ordered_by_the_user(tmp_path: Path) -> None:
    root = tmp_path / "root"
    corpus = corpus_at(root)
    shutil.copytree(root / "features" / "clip_features", root / "features" / "pann_features")
    assert refusal("moment-detr", root) == (
        f"several feature files: {root}/features has clip_features, pann_features, "
        "slowfast_features; name those that are meant in order, --video-features "
        "clip_features,pann_features",
    )
    split = train(root, tmp_path / "store", video_features="pann_features, slowfast_features")
    rows = corpus.frames["_x_1_y_60.0_210.0"]
    expected = np.roll(rows, VIDEO_DIM - SLOWFAST_DIM, axis=1)
    np.testing.assert_array_equal(split.frames(0), expected)
    assert refusal("moment-detr", root, video_features="c3d") == (
        f"missing file: {root}/features has no c3d; folders of features there: clip_features, "
        "pann_features, slowfast_features",
    )


def test_captions_in_another_folder_and_none(tmp_path: Path) -> None:
    root = tmp_path / "root"
    corpus_at(root)
    (root / "data").rename(root / "labels")
    problems = refusal("moment-detr", root)
    assert problems[0] == f"missing file: {root} has no highlight_train_release.jsonl"
    assert train(root, tmp_path / "store", captions="labels").video_ids[2] == "b_0.0_150.0"


WHOLE = '"qid": 1, "query": "q", "vid": "v"'


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[1]",
        "no json",
        '{"qid": 1, "query": "q"}',
        f'{{{WHOLE}, "duration": 0}}',
        f'{{{WHOLE}, "relevant_windows": [[3, 2]]}}',
        f'{{{WHOLE}, "relevant_windows": [[1, NaN]]}}',
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: str) -> None:
    root = tmp_path / "root"
    corpus_at(root)
    path = root / "data" / "highlight_val_release.jsonl"
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert refusal("moment-detr", root) == (
        f"malformed caption line: {path.name}:3 starts with {line.encode()[:40]!r}, expected a "
        "JSON object with qid, query and vid, perhaps duration and relevant_windows",
    )


def test_a_piece_without_features_and_splits_that_share_a_video(tmp_path: Path) -> None:
    """Joined or not, a piece that two splits name is in its video once."""
    root = tmp_path / "root"
    corpus = small_corpus({"train": {"a_0_9": 2}, "val": {"b_9_18": 3, "b_0_9": 2}}, 1)
    written("moment-detr", corpus, root)
    tests = [("test", line) for split, line in map(highlight, corpus.captions) if split == "val"]
    write_highlights(root / "data", tests)
    store = FeatureStore.open(
        imported("moment-detr", root, tmp_path / "store", join_pieces=True).store
    )
    for split in ("val", "test"):
        joined = np.concatenate([corpus.frames["b_0_9"], corpus.frames["b_9_18"]])
        np.testing.assert_array_equal(store.split(split).frames(0), joined)
    for kind in ("clip_features", "slowfast_features"):
        (root / "features" / kind / "b_0_9.npz").unlink()
    assert refusal("moment-detr", root, join_pieces=True) == (
        "missing key: 'b_0_9' is not in slowfast_features, clip_features (2 items)",
    )
