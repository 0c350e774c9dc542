"""All layouts give the same store; `auto` finds the one that fits."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prvr_model.errors import CorpusError, SettingsError
from prvr_model.store.importers.corpus import ImportChoices, ImportReport
from prvr_model.store.importers.importing import import_corpus
from prvr_model.store.importers.layouts import LAYOUTS
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.store.importers.every_layout import (
    FREE_NAMES,
    NAME,
    WRITERS,
    SmallCorpus,
    small_corpus,
    written,
)

VIDEOS = {
    "train": {"a": 5, "Müll_é": 1, "видео": 3},
    "val": {"-x_y": 4, "b": 2},
    "test": {"東京": 7},
}


def imported(layout: str, root: Path, target: Path, **choices: object) -> ImportReport:
    return import_corpus(layout, root, NAME, target, ImportChoices(**choices))  # type: ignore[arg-type]


def refusal(layout: str, root: Path, **choices: object) -> tuple[str, ...]:
    """Problems of an import that must fail."""
    with pytest.raises(CorpusError) as caught:
        imported(layout, root, root.parent / "refused", **choices)
    assert not (root.parent / "refused").exists()
    return caught.value.problems


def stored(layout: str, corpus: SmallCorpus) -> SmallCorpus:
    """What a store has of a corpus that a layout holds."""
    return corpus.pooled() if layout == "dl-dkd" else corpus


def test_the_table_of_layouts_is_tested() -> None:
    assert set(WRITERS) == set(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_store(tmp_path: Path, layout: str) -> None:
    corpus = small_corpus(VIDEOS)
    report = imported(layout, written(layout, corpus, tmp_path / "root"), tmp_path / "store")
    reference = written("msc", stored(layout, corpus), tmp_path / "reference")
    expected = imported("msc", reference, tmp_path / "expected").manifest.fingerprint
    assert report.manifest.fingerprint == expected
    assert report.manifest.source["kind"] == layout
    assert report.warnings == ()


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "dl-dkd"])
def test_auto_finds_the_layout_and_the_collection(tmp_path: Path, layout: str) -> None:
    root = written(layout, small_corpus(VIDEOS), tmp_path / NAME)
    report = import_corpus("auto", root, None, tmp_path / "store")
    named = imported(layout, root, tmp_path / "named")
    assert report.manifest.source == named.manifest.source
    assert report.manifest.name == NAME
    assert report.notes[0].startswith(f"layout {layout}: {root}")


def names(layout: str) -> st.SearchStrategy[str]:
    signs = st.characters(categories=["Lu", "Ll", "Lo", "Nd"], include_characters="-_.é東я")
    if layout in FREE_NAMES:
        signs |= st.sampled_from("# ")
    text = st.text(signs, min_size=1, max_size=12)
    return text.filter(lambda name: name.strip(" .#") == name)


@st.composite
def corpora(draw: st.DrawFn, layout: str) -> SmallCorpus:
    ids = draw(st.lists(names(layout), min_size=2, max_size=4, unique_by=lambda name: name))
    lengths = [draw(st.sampled_from([1, 1, 2, 9, 33])) for _ in ids]
    rows = dict(zip(ids, lengths, strict=True))
    num_train = draw(st.integers(1, len(ids) - 1))
    splits = {
        "train": {name: rows[name] for name in ids[:num_train]},
        "val": {name: rows[name] for name in ids[num_train:]},
    }
    return small_corpus(splits, draw(st.integers(1, 3)))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=6)
@given(data=st.data())
def test_any_corpus_arrives_as_it_is(layout: str, data: st.DataObject) -> None:
    corpus = data.draw(corpora(layout))
    with tempfile.TemporaryDirectory() as name:
        root = written(layout, corpus, Path(name) / "root")
        store = FeatureStore.open(imported(layout, root, Path(name) / "store").store)
        check(store, stored(layout, corpus))


def check(store: FeatureStore, corpus: SmallCorpus) -> None:
    """That a store holds a corpus, row by row."""
    for name in ("train", "val"):
        split, captions = store.split(name), corpus.of(name)
        assert list(split.video_ids) == list(dict.fromkeys(caption.video for caption in captions))
        assert list(split.caption_ids) == [caption.id for caption in captions]
        assert list(split.caption_texts) == [caption.text for caption in captions]
        for row, video in enumerate(split.video_ids):
            np.testing.assert_array_equal(split.frames(row), corpus.frames[video])
        for row, caption in enumerate(captions):
            np.testing.assert_array_equal(split.tokens(row), corpus.tokens[caption.id])
            assert split.video_ids[split.caption_video[row]] == caption.video


def test_auto_takes_the_only_files_of_any_name_for_msc(tmp_path: Path) -> None:
    root = written("msc", small_corpus(VIDEOS), tmp_path / "root")
    for part in ("FeatureData", "TextData"):
        file = root / NAME / part / "tiny_clip_L14.h5"
        file.rename(file.with_name("mine.h5"))
    report = import_corpus("auto", root, None, tmp_path / "store")
    assert report.notes == (
        f"layout msc: {root}/tiny/FeatureData/mine.h5 is the only HDF5 file there",
        "collection tiny is taken: it is the only one there",
        "FeatureData/mine.h5 is taken: it is the only HDF5 file there",
        "TextData/mine.h5 is taken: it is the only HDF5 file there",
    )


def test_auto_refuses_where_two_layouts_fit(tmp_path: Path) -> None:
    root = written("dl-dkd", small_corpus(VIDEOS), tmp_path / "root")
    with pytest.raises(CorpusError) as caught:
        import_corpus("auto", root, None, tmp_path / "store")
    features = root / "FeatureData"
    assert str(caught.value).startswith(f"2 layouts fit {root}\n")
    assert caught.value.problems == (
        f"bigfile: {features}/i3d_resnet holds feature.bin and its index",
        f"dl-dkd: {features}/new_clip_vit_32_tiny_vid_features.hdf5 is there",
        "choose one with --layout NAME",
    )


def test_auto_says_what_it_looked_for_where_none_fits(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "notes.txt").write_text("")
    problems = refusal("auto", tmp_path / "root")
    assert problems[0] == f"{tmp_path}/root holds notes.txt"
    assert [line.partition(":")[0] for line in problems[1:]] == list(LAYOUTS)
    assert refusal("auto", tmp_path / "none")[0] == f"{tmp_path}/none is no folder"


@pytest.mark.parametrize(
    ("layout", "choices", "path", "message"),
    [
        ("bigfiel", {}, "--layout", "there is no layout 'bigfiel'; allowed: auto, msc, "),
        ("msc", {"captions": "c.csv"}, "--captions", "layout msc has no use for it"),
        ("table", {"join_pieces": True}, "--join-pieces", "layout table has no use for it"),
        ("msc", {"allow": frozenset({"zeros"})}, "--allow", "found 'zeros'; allowed: zero-feature"),
    ],
)
def test_choices_that_cannot_be_made(
    tmp_path: Path, layout: str, choices: dict[str, object], path: str, message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        imported(layout, tmp_path, tmp_path / "store", **choices)
    ((found, text),) = caught.value.problems
    assert found == path
    assert text.startswith(message)


def test_several_collections_are_listed(tmp_path: Path) -> None:
    root = written("msc", small_corpus(VIDEOS), tmp_path / "root")
    shutil.copytree(root / NAME, root / "other")
    (root / "other/TextData/tinytrain.caption.txt").rename(
        root / "other/TextData/tvrtrain.caption.txt"
    )
    with pytest.raises(CorpusError) as caught:
        import_corpus("msc", root, None, tmp_path / "store")
    assert caught.value.problems == (
        "collections there: tvr, tiny; name one with --collection NAME",
    )


def test_no_collection(tmp_path: Path) -> None:
    (tmp_path / "root" / "FeatureData").mkdir(parents=True)
    for root, there in (("root", "root holds FeatureData/"), ("none", "none is no folder")):
        with pytest.raises(CorpusError) as caught:
            import_corpus("msc", tmp_path / root, None, tmp_path / "store")
        assert str(caught.value) == (
            "there is no collection with FeatureData and a TextData/*train.caption.txt at "
            f"{tmp_path}/{root}\n  - {tmp_path}/{there}"
        )


def test_several_folders_of_features_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    root = written("bigfile", small_corpus(VIDEOS), tmp_path / "root")
    features = root / "FeatureData"
    shutil.copytree(features / "i3d_resnet", features / "other")
    assert refusal("bigfile", root) == (
        f"several feature files: {features} has i3d_resnet/, other/; name one with "
        "--video-features NAME",
    )
    report = imported("bigfile", root, tmp_path / "store", video_features="other")
    assert report.manifest.source["video_features"] == "other"


def test_a_layout_without_its_features(tmp_path: Path) -> None:
    root = written("bigfile", small_corpus(VIDEOS), tmp_path / "root")
    shutil.rmtree(root / "FeatureData" / "i3d_resnet")
    assert refusal("bigfile", root)[0] == (
        f"missing file: {root}/FeatureData has no folder with feature.bin; {root}/FeatureData is "
        "empty; --video-features NAME takes another"
    )


def test_counts_that_differ_from_the_published_ones_are_said(tmp_path: Path) -> None:
    root = tmp_path / "charades"
    written("table", small_corpus(VIDEOS), root)
    report = import_corpus("table", root, None, tmp_path / "store")
    assert report.notes == (
        "charades/captions.jsonl is taken: it is the only table of captions there",
        "train has 3 videos and 6 captions; charades was published with 5,338 videos and 12,408 "
        "captions",
        "val has 2 videos and 4 captions; charades was published with 1,334 videos and 3,720 "
        "captions",
        "test has 1 videos and 2 captions; charades was published with 1,334 videos and 3,720 "
        "captions",
    )
