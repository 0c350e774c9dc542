"""The MSC layout: what it takes, what it tells."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from prvr_model.errors import CorpusError, DataError, StoreError
from prvr_model.store.importers.corpus import ImportChoices, ImportReport
from prvr_model.store.reader import FeatureStore
from tests.locations import SHARED
from tests.prvr_model.store.corpora import TEXT_DIM, VIDEO_DIM, MscCorpus, import_msc, tiny_corpus

TVR_MINI = SHARED / "data" / "tvr_mini"


def imported(corpus: MscCorpus, folder: Path, **options: float | bool | str) -> ImportReport:
    root = corpus.write(folder / "root")
    return import_msc(root, corpus.name, folder / "store", ImportChoices(**options))


def refused(corpus: MscCorpus, folder: Path, **options: float | bool | str) -> tuple[str, ...]:
    """Problems of an import that must fail and leave nothing behind."""
    return refused_root(corpus.write(folder / "root"), corpus.name, folder, **options)


def refused_root(
    root: Path, name: str, folder: Path, **options: float | bool | str
) -> tuple[str, ...]:
    with pytest.raises(CorpusError) as caught:
        import_msc(root, name, folder / "store", ImportChoices(**options))
    assert caught.value.exit_code == 3
    assert [path.name for path in folder.iterdir()] == ["root"]
    return caught.value.problems


def test_content_arrives_in_the_order_of_the_caption_files(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["z", "b"], "val": ["c"], "test": ["d"]})
    report = imported(corpus, tmp_path)
    split = FeatureStore.open(report.store).split("train")
    assert list(split.video_ids) == ["z", "b"]
    assert list(split.caption_ids) == ["z#enc#0", "z#enc#1", "b#enc#0", "b#enc#1"]
    assert split.caption_texts[3] == "Caption 1 of b."
    assert split.caption_video.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(split.frames(1), corpus.frames["b"])
    np.testing.assert_array_equal(split.tokens(3), corpus.tokens["b#enc#1"])
    assert report.notes == ()
    assert report.manifest.name == "tiny"


def test_the_root_may_be_the_collection_itself(tmp_path: Path) -> None:
    root = tiny_corpus().write(tmp_path / "root")
    report = import_msc(root / "tiny", "tiny", tmp_path / "store")
    assert report.manifest.splits["train"].videos == 2


def test_both_places_that_were_looked_at_are_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        import_msc(tmp_path, "nothing", tmp_path / "store")
    assert f"in {tmp_path / 'nothing'}" in caught.value.problems[0]
    assert f"in {tmp_path}" in caught.value.problems[1]
    assert caught.value.problems[2] == f"{tmp_path} is empty"


@pytest.mark.parametrize(
    ("root", "collection", "found"),
    [
        ("root", "tyni", "collections there: tiny; did you mean tiny?"),
        ("root", "Tiny", "collections there: tiny; did you mean tiny?"),
        ("rot", "tiny", "{folder}/rot does not exist; did you mean root?"),
        ("root/tiny/TextData", "tiny", "--root names the folder above TextData"),
        ("root/tiny/TextData/tinyval.caption.txt", "tiny", "is a file; --root names a folder"),
    ],
)
def test_what_is_there_in_place_of_a_collection(
    tmp_path: Path, root: str, collection: str, found: str
) -> None:
    tiny_corpus().write(tmp_path / "root")
    problems = refused_root(tmp_path / root, collection, tmp_path)
    assert any(found.format(folder=tmp_path) in problem for problem in problems)


def test_a_collection_further_below(tmp_path: Path) -> None:
    tiny_corpus().write(tmp_path / "root" / "my data")
    folder = tmp_path / "root" / "my data"
    problems = refused_root(tmp_path / "root", "tiny", tmp_path)
    assert problems[2:] == (f"{folder}/tiny has them: --root '{folder}'",)


def test_half_a_collection(tmp_path: Path) -> None:
    root = tiny_corpus().write(tmp_path / "root")
    shutil.rmtree(root / "tiny" / "TextData")
    assert f"{root}/tiny holds FeatureData/" in refused_root(root, "tiny", tmp_path)


def test_a_name_that_no_folder_can_have(tmp_path: Path) -> None:
    root = tiny_corpus().write(tmp_path / "root")
    (problem,) = refused_root(root, "x" * 300, tmp_path)
    assert problem.endswith("File name too long")


def test_the_only_feature_file_is_taken_and_named(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.video_file, corpus.text_file = "tiny_internvideo.h5", "tiny_text.HDF5"
    report = imported(corpus, tmp_path)
    assert report.notes == (
        "FeatureData/tiny_internvideo.h5 is taken: it is the only HDF5 file there",
        "TextData/tiny_text.HDF5 is taken: it is the only HDF5 file there",
    )
    assert report.manifest.source["video_features"] == "tiny_internvideo.h5"


def test_several_feature_files_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.video_file = "a.h5"
    root = corpus.write(tmp_path / "root")
    folder = root / "tiny" / "FeatureData"
    (folder / "b.hdf5").write_bytes(b"")
    assert refused_root(root, "tiny", tmp_path) == (
        f"several feature files: {folder} has no tiny_clip_L14.h5, but a.h5, b.hdf5; "
        "name one with --video-features NAME",
    )
    assert refused_root(root, "tiny", tmp_path, video_features="A.h5") == (
        f"missing file: {folder}/A.h5; {folder} holds a.h5, b.hdf5; did you mean a.h5?",
    )
    by_name = import_msc(root, "tiny", tmp_path / "1", ImportChoices(video_features="a.h5"))
    path = str(folder / "a.h5")
    by_path = import_msc(root, "tiny", tmp_path / "2", ImportChoices(video_features=path))
    assert by_name.manifest.fingerprint == by_path.manifest.fingerprint


def test_a_packed_feature_file_is_found_near(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.video_file = "tiny_clip_L14.h5.gz"
    (problem,) = refused(corpus, tmp_path)
    assert problem.endswith("did you mean tiny_clip_L14.h5.gz?")


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "root")
    path = corpus.text_path(root)
    path.unlink()
    path.symlink_to("/nowhere/x.h5")
    (problem,) = refused_root(root, "tiny", tmp_path)
    assert problem == f"missing file: {path} is a link to /nowhere/x.h5, which is gone"


def test_a_caption_file_of_another_name_is_found_near(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "root")
    path = corpus.caption_path(root, "train")
    path.rename(path.with_name("tiny_train.txt"))
    (problem,) = refused_root(root, "tiny", tmp_path)
    assert problem.startswith(f"missing file: {path}; caption files there: tiny_train.txt, ")
    assert problem.endswith("; did you mean tiny_train.txt?")


@pytest.mark.parametrize(
    ("dtype", "stored"), [("float16", "float16"), ("float32", "float32"), ("float64", "float32")]
)
def test_number_types(tmp_path: Path, dtype: str, stored: str) -> None:
    corpus = tiny_corpus(dtype=dtype)
    report = imported(corpus, tmp_path)
    assert (report.manifest.video_dtype, report.manifest.text_dtype) == (stored, stored)
    frames = FeatureStore.open(report.store).split("train").frames(0)
    np.testing.assert_array_equal(frames, corpus.frames["a"].astype(stored))
    assert len(report.notes) == (2 if dtype == "float64" else 0)


def test_mixed_number_types_lose_nothing(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.frames["a"] = np.full((1, VIDEO_DIM), 1 / 3, np.float32)
    report = imported(corpus, tmp_path)
    assert (report.manifest.video_dtype, report.manifest.text_dtype) == ("float32", "float16")
    assert FeatureStore.open(report.store).split("train").frames(0)[0, 0] == np.float32(1 / 3)


def test_wrapped_arrays_are_unwrapped(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.tokens = {key: rows[None] for key, rows in corpus.tokens.items()}
    tokens = FeatureStore.open(imported(corpus, tmp_path).store).split("train").tokens(1)
    np.testing.assert_array_equal(tokens, corpus.tokens["a#enc#1"][0])


def test_activitynet_prefix_is_in_captions_only(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["v_a", "v_b"], "val": ["v_c"], "test": ["v_d"]})
    corpus.frames = {key.removeprefix("v_"): rows for key, rows in corpus.frames.items()}
    split = FeatureStore.open(imported(corpus, tmp_path).store).split("train")
    assert list(split.video_ids) == ["v_a", "v_b"]
    np.testing.assert_array_equal(split.frames(1), corpus.frames["b"])


@pytest.mark.parametrize(("in_text", "in_features"), [("#", "#enc#"), ("#enc#", "#")])
def test_both_forms_of_caption_ids(tmp_path: Path, in_text: str, in_features: str) -> None:
    corpus = tiny_corpus()
    corpus.tokens = {key.replace("#enc#", in_features): v for key, v in corpus.tokens.items()}
    corpus.captions = {
        split: [line.replace("#enc#", in_text) for line in lines]
        for split, lines in corpus.captions.items()
    }
    split = FeatureStore.open(imported(corpus, tmp_path).store).split("train")
    assert split.caption_ids[1] == f"a{in_text}1"
    assert split.caption_texts[1] == "Caption 1 of a."
    np.testing.assert_array_equal(split.tokens(1), corpus.tokens[f"a{in_features}1"])


@pytest.mark.parametrize("name", ["qvhighlight", "qvhighlights"])
def test_file_names_of_qvhighlights(tmp_path: Path, name: str) -> None:
    corpus = tiny_corpus()
    corpus.name = name
    corpus.video_file = "qvhighlight_slowfast_clip.h5"
    corpus.text_file = "qvhighlight_slowfast_clip_text.h5"
    assert imported(corpus, tmp_path).manifest.splits["val"].captions == 2


def test_byte_order_mark_windows_lines_and_odd_characters(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.captions["val"] = [
        "\ufeffc#enc#0 Caf\u00e9\u2028table.\r",
        "",
        "c#enc#1\u0020\u0020two  spaces \r",
    ]
    split = FeatureStore.open(imported(corpus, tmp_path).store).split("val")
    assert list(split.caption_texts) == ["Caf\u00e9\u2028table.", "two  spaces"]


@pytest.mark.parametrize("space", ["\t", "\u00a0", "\u3000", " \t "])
def test_any_white_space_ends_an_id(tmp_path: Path, space: str) -> None:
    corpus = tiny_corpus()
    corpus.captions["val"] = [f"c#enc#0{space}Two\u00a0words.", f"c#enc#1{space}More."]
    split = FeatureStore.open(imported(corpus, tmp_path).store).split("val")
    assert list(split.caption_ids) == ["c#enc#0", "c#enc#1"]
    assert list(split.caption_texts) == ["Two\u00a0words.", "More."]


def test_lines_of_old_macs(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "root")
    path = corpus.caption_path(root, "train")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    manifest = import_msc(root, "tiny", tmp_path / "store").manifest
    assert manifest.splits["train"].captions == 4


def test_a_missing_test_split_is_told_and_its_videos_left_out(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    del corpus.captions["test"]
    report = imported(corpus, tmp_path)
    assert list(report.manifest.splits) == ["train", "val"]
    assert "there is no test split" in report.notes[0]
    assert "1 videos that no caption in use names were left out" in report.notes[1]


def test_validation_videos_are_carved_out_of_train(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": [f"v{n}" for n in range(10)], "test": ["d"]})
    report = imported(corpus, tmp_path, val_from_train=0.2)
    store = FeatureStore.open(report.store)
    train, val = store.split("train"), store.split("val")
    assert (len(train.video_ids), len(val.video_ids)) == (8, 2)
    assert len(val.caption_ids) == 4
    assert set(train.video_ids) | set(val.video_ids) == {f"v{n}" for n in range(10)}
    again = import_msc(
        tmp_path / "root", "tiny", tmp_path / "again", ImportChoices(val_from_train=0.2)
    )
    assert again.manifest.fingerprint == report.manifest.fingerprint


def test_val_becomes_test_where_there_is_none(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["a", "b", "e"], "val": ["c"]})
    report = imported(corpus, tmp_path, val_from_train=0.1)
    assert list(FeatureStore.open(report.store).split("test").video_ids) == ["c"]
    assert "1 of 3 train videos became the val split" in report.notes[0]
    assert "its own val split became test" in report.notes[1]


def test_own_val_is_left_out_when_it_is_carved(tmp_path: Path) -> None:
    report = imported(tiny_corpus(), tmp_path, val_from_train=0.5)
    assert report.manifest.splits["val"].videos == 1
    assert "the corpus's own val split was left out" in report.notes


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_impossible_fractions(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(DataError, match="must lie between 0 and 1"):
        imported(tiny_corpus(), tmp_path, val_from_train=fraction)


def test_no_validation_captions(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    del corpus.captions["val"]
    (problem,) = refused(corpus, tmp_path)
    folder = tmp_path / "root" / "tiny" / "TextData"
    assert problem == (
        f"missing file: {folder}/tinyval.caption.txt; caption files there: tinytest.caption.txt, "
        "tinytrain.caption.txt; --val-from-train 0.1 takes validation videos from train"
    )


def test_missing_files_are_all_listed(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "root")
    paths = [corpus.video_path(root), corpus.text_path(root), corpus.caption_path(root, "train")]
    for path in paths:
        path.unlink()
    problems = refused_root(root, "tiny", tmp_path)
    videos, texts = paths[0].parent, paths[1].parent
    captions = "tinytest.caption.txt, tinyval.caption.txt"
    assert problems == (
        f"missing file: {paths[0]}; {videos} is empty; --video-features NAME takes another",
        f"missing file: {paths[1]}; {texts} holds {captions}; --text-features NAME takes another",
        f"missing file: {paths[2]}; caption files there: {captions}",
    )


def test_damaged_data_inside_hdf5(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    root = corpus.write(tmp_path / "root")
    path = corpus.text_path(root)
    content = bytearray(path.read_bytes())
    start = content.index(b"TREE")
    content[start : start + 4] = b"XXXX"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tiny_clip_L14\.h5.*cannot be read"):
        import_msc(root, "tiny", tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_caption_without_video(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    del corpus.frames["b"]
    (problem,) = refused(corpus, tmp_path)
    assert problem == (
        "caption without video: 'b#enc#0' (tinytrain.caption.txt:3): "
        "FeatureData/tiny_clip_L14.h5 has no video 'b' (tried b, v_b)"
    )


def test_video_without_caption(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.frames["silent"] = corpus.frames["a"]
    (problem,) = refused(corpus, tmp_path)
    assert problem.startswith(
        "video without caption: 'silent' of FeatureData/tiny_clip_L14.h5 is in no caption file"
    )
    report = import_msc(
        tmp_path / "root", "tiny", tmp_path / "store", ImportChoices(skip_uncaptioned=True)
    )
    assert "1 videos that no caption in use names were left out" in report.notes


def test_missing_key_of_a_caption(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    del corpus.tokens["c#enc#1"]
    (problem,) = refused(corpus, tmp_path)
    assert problem.startswith(
        "missing key: caption 'c#enc#1' (tinyval.caption.txt:2) is not in "
        "TextData/tiny_clip_L14.h5 (tried c#enc#1, c#1,"
    )


def test_text_features_of_no_caption_are_noted(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.tokens["x#enc#0"] = corpus.tokens["a#enc#0"]
    notes = imported(corpus, tmp_path).notes
    assert notes == ("1 entries of TextData/tiny_clip_L14.h5 belong to no caption that was read",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((3, VIDEO_DIM + 1)), "wrong dimensions: {file}: 'b' has dimension 7, most have 6"),
        (np.ones(VIDEO_DIM), "wrong dimensions: {file}: 'b' has shape (6,), expected (L, D)"),
        (np.ones((2, 3, VIDEO_DIM)), "wrong dimensions: {file}: 'b' has shape (2, 3, 6)"),
        (np.ones((0, VIDEO_DIM)), "zero frames: {file}: 'b' has shape (0, 6)"),
        (np.ones((3, 0)), "wrong dimensions: {file}: 'b' has shape (3, 0)"),
        (np.ones((3, VIDEO_DIM), int), "wrong type: {file}: 'b' holds int64, expected floating"),
        (np.full((3, VIDEO_DIM), np.nan), "NaN or infinity: {file}: 'b' has 18 values"),
        (np.full((3, VIDEO_DIM), -np.inf), "NaN or infinity: {file}: 'b' has 18 values"),
        (np.full((3, VIDEO_DIM), 1e300), "NaN or infinity: {file}: 'b' has 18 values"),
    ],
)
def test_video_features_that_cannot_be_used(tmp_path: Path, rows: np.ndarray, message: str) -> None:
    corpus = tiny_corpus()
    corpus.frames["b"] = rows
    # An earlier problem, so that what follows is checked but no longer written.
    corpus.frames["a"] = np.full_like(corpus.frames["a"], np.nan)
    problems = refused(corpus, tmp_path)
    assert len(problems) == 2
    assert any(
        problem.startswith(message.format(file="FeatureData/tiny_clip_L14.h5"))
        for problem in problems
    )


def test_text_features_that_cannot_be_used(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.tokens["a#enc#0"] = np.ones((0, TEXT_DIM))
    corpus.tokens["b#enc#0"] = np.full((1, TEXT_DIM), np.inf)
    problems = refused(corpus, tmp_path)
    assert problems[0] == "zero tokens: TextData/tiny_clip_L14.h5: 'a#enc#0' has shape (0, 4)"
    assert problems[1].startswith(
        "NaN or infinity: TextData/tiny_clip_L14.h5: 'b#enc#0' has 4 values"
    )


def test_a_single_bad_item_is_named_with_its_split(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.frames["c"][0, 0] = np.nan
    (problem,) = refused(corpus, tmp_path)
    assert "video 'c' of split val has 1 values that are NaN or infinite" in problem


def test_duplicate_ids(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.captions["train"] += ["a#enc#0 Again.", "b#1 In the other form."]
    problems = refused(corpus, tmp_path)
    assert problems == (
        "duplicate id: caption 'a#enc#0' at tinytrain.caption.txt:1 and tinytrain.caption.txt:5",
        "duplicate id: tinytrain.caption.txt:4 and tinytrain.caption.txt:6 both lead to features "
        "'b#enc#1'",
    )


def test_a_video_in_train_and_val(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["a", "b"], "val": ["c", "a"], "test": ["d"]})
    assert refused(corpus, tmp_path) == ("duplicate id: video 'a' is in both train and val",)


def test_val_and_test_may_be_the_same(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": ["a"], "val": ["c"], "test": ["c"]})
    assert "val and test share 1 videos" in imported(corpus, tmp_path).notes[0]


def test_malformed_caption_lines(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.captions["train"] += ["no id at all", "a# nothing after the sign"]
    root = corpus.write(tmp_path / "root")
    with corpus.caption_path(root, "train").open("ab") as file:
        file.write(b"a#enc#9 caf\xe9\n")
    problems = refused_root(root, "tiny", tmp_path)
    kinds = [problem.split(": ", 1)[0] for problem in problems]
    assert kinds == ["hint", *["malformed caption line"] * 3]
    assert "tinytrain.caption.txt:5 starts with 'no', expected <video>#enc#<k>" in problems[1]
    assert "tinytrain.caption.txt:7 is not UTF-8" in problems[3]


def test_an_empty_caption_file(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.captions["test"] = []
    path = corpus.caption_path(tmp_path / "root", "test")
    assert refused(corpus, tmp_path) == (f"caption file without captions: {path}",)


def test_a_caption_without_text_is_noted(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    corpus.captions["val"][1] = "c#enc#1"
    assert imported(corpus, tmp_path).notes == (
        "1 captions of val have no text, only features (first 'c#enc#1', tinyval.caption.txt:2)",
    )


def test_twenty_of_a_kind_are_shown_then_the_count(tmp_path: Path) -> None:
    corpus = tiny_corpus({"train": [f"v{n:02}" for n in range(33)], "val": ["c"], "test": ["d"]})
    for n in range(32):
        corpus.frames[f"v{n:02}"][:] = np.nan
    del corpus.frames["c"], corpus.tokens["d#enc#0"]
    problems = refused(corpus, tmp_path)
    bad = [problem for problem in problems if problem.startswith("NaN or infinity: ")]
    assert len(bad) == 21
    assert bad[-1] == "NaN or infinity: and 12 more (32 in all)"
    assert len(problems) == 23


def test_an_existing_store_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    corpus = tiny_corpus()
    imported(corpus, tmp_path)
    with pytest.raises(StoreError, match="exists; give --overwrite"):
        import_msc(tmp_path / "nowhere", "tiny", tmp_path / "store")
    corpus.frames["a"] *= 2
    first = FeatureStore.open(tmp_path / "store").manifest.fingerprint
    assert imported(corpus, tmp_path, overwrite=True).manifest.fingerprint != first


@pytest.mark.skipif(not TVR_MINI.is_dir(), reason=f"{TVR_MINI} is not on this machine")
def test_real_captions(tmp_path: Path) -> None:
    report = import_msc(TVR_MINI, "tvr_mini", tmp_path / "store")
    counts = {
        name: (value.videos, value.captions) for name, value in report.manifest.splits.items()
    }
    assert counts == {"train": (280, 1400), "val": (160, 800), "test": (160, 800)}
    assert (report.manifest.video_dim, report.manifest.text_dim) == (160, 384)
    assert report.notes == ()
    FeatureStore.open(report.store).verify()
