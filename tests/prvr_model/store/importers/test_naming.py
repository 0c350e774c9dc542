"""Hints at how the names of captions and of features differ."""

from collections.abc import Callable
from pathlib import Path

import pytest

from prvr_model.store.importers.naming import naming_hint
from tests.prvr_model.store.corpora import MscCorpus, tiny_corpus
from tests.prvr_model.store.importers.test_msc import refused

VIDEOS = ["train0", "train1", "train10", "val0"]


def hint(wanted: list[str], there: list[str]) -> str:
    found = naming_hint(wanted, there)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rename", "difference"),
    [
        (lambda name: f"{name}.mp4", "with '.mp4' behind, e.g. 'train0.mp4' for 'train0'"),
        (lambda name: f"vid_{name}", "with 'vid_' before, e.g. 'vid_train0' for 'train0'"),
        (
            lambda name: f"v/{name}.npy",
            "with 'v/' before and '.npy' behind, e.g. 'v/train0.npy' for 'train0'",
        ),
        (str.upper, "in other capitals, e.g. 'TRAIN0' for 'train0'"),
        (lambda name: name.replace("n", "n-"), "with other signs, e.g. 'train-0' for 'train0'"),
    ],
)
def test_a_rule_that_most_names_follow(rename: Callable[[str], str], difference: str) -> None:
    there = [rename(name) for name in VIDEOS] + ["other"]
    expected = f"4 of the 5 names that are missing are there {difference}"
    assert hint([*VIDEOS, "absent"], there).startswith(expected)


def test_the_other_way_round() -> None:
    wanted = [f"{name}.mp4" for name in VIDEOS]
    assert "are there without '.mp4' behind, e.g. 'train0' for 'train0.mp4'" in hint(wanted, VIDEOS)


def test_captions_whose_videos_are_named_otherwise() -> None:
    wanted = [f"{name}.mp4#enc#{number}" for name in VIDEOS for number in range(2)]
    there = [f"{name}#enc#{number}" for name in VIDEOS for number in range(2)]
    assert hint(wanted, there).startswith("4 of the 4 names that are missing are there without")


def test_captions_that_are_numbered_otherwise() -> None:
    wanted = [f"{name}#enc#{number}" for name in VIDEOS for number in range(2)]
    there = [name.replace("#enc#", "_") for name in wanted]
    assert "with other signs, e.g. 'train0_0' for 'train0#enc#0'" in hint(wanted, there)


def test_the_nearest_names() -> None:
    assert hint(["train3"], ["trian3", "x"]) == "nearest to 'train3': 'trian3'"


def test_a_name_within_others_is_no_rule() -> None:
    assert hint(["v1", "v2"], ["v10", "v11", "v12"]) == "nearest to 'v1': 'v12', 'v11', 'v10'"


@pytest.mark.parametrize(("wanted", "there"), [([], ["a"]), (["a"], []), (["abc"], ["xyz"])])
def test_nothing_is_near(wanted: list[str], there: list[str]) -> None:
    assert naming_hint(wanted, there) is None


def with_suffixed_captions(corpus: MscCorpus) -> None:
    corpus.captions = {
        split: [line.replace("#", ".mp4#", 1) for line in lines]
        for split, lines in corpus.captions.items()
    }


def with_suffixed_frames(corpus: MscCorpus) -> None:
    corpus.frames = {f"{key}.mp4": rows for key, rows in corpus.frames.items()}


@pytest.mark.parametrize(
    ("change", "files", "difference"),
    [
        (with_suffixed_captions, ["FeatureData", "TextData"], "without '.mp4' behind, e.g. 'a'"),
        (with_suffixed_frames, ["FeatureData"], "with '.mp4' behind, e.g. 'a.mp4' for 'a'"),
    ],
)
def test_an_import_says_it_before_what_is_missing(
    tmp_path: Path, change: Callable[[MscCorpus], None], files: list[str], difference: str
) -> None:
    corpus = tiny_corpus()
    change(corpus)
    problems = refused(corpus, tmp_path)
    for problem, file in zip(problems, files, strict=False):
        expected = f"hint: {file}/tiny_clip_L14.h5: 4 of the 4 names that are missing are there "
        assert problem.startswith(f"{expected}{difference}")
    assert not problems[len(files)].startswith("hint")
