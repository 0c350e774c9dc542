"""Features that cannot be meant end an import unless they are allowed by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prvr_model.store.importers.sanity import ALLOWABLE
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.store.importers.every_layout import SmallCorpus, small_corpus, written
from tests.prvr_model.store.importers.test_layouts import imported, refusal

VIDEOS = {"train": {"a": 5, "b": 3, "c": 2, "d": 4}, "val": {"e": 4}}


def zero_videos(corpus: SmallCorpus) -> None:
    for video in "abcd":
        corpus.frames[video][:] = 0


def zero_caption(corpus: SmallCorpus) -> None:
    corpus.tokens["a#enc#1"][:] = 0


def padded_captions(corpus: SmallCorpus) -> None:
    for key in ("a#enc#1", "b#enc#2"):
        corpus.tokens[key] = np.pad(corpus.tokens[key], ((0, 3), (0, 0)))


def repeated_video(corpus: SmallCorpus) -> None:
    corpus.frames["b"][:] = corpus.frames["b"][1]


def raw_validation(corpus: SmallCorpus) -> None:
    corpus.frames["e"] *= 9


@pytest.mark.parametrize(
    ("change", "name", "problem"),
    [
        (
            zero_videos,
            "zero-features",
            "zeros in every row of 4 of 5 videos ('a', 'b', 'c', ...): make their features again",
        ),
        (
            zero_caption,
            "zero-features",
            "zeros in every row of 1 of 10 captions ('a#enc#1'): make their features again",
        ),
        (
            padded_captions,
            "zero-sentence",
            "a sentence vector of zeros, as padding is, of 2 of 10 captions ('a#enc#1', "
            "'b#enc#2'): --trim-padding cuts rows of zeros off the end",
        ),
        (
            repeated_video,
            "repeated-rows",
            "the same row throughout of 1 of 5 videos ('b'): look at how their features were made",
        ),
        (
            raw_validation,
            "norms-differ",
            "rows of videos have mean norms that are far apart: train 1, val 9; were some "
            "normalised, or made by another encoder?",
        ),
    ],
)
def test_what_is_found_and_what_allows_it(
    tmp_path: Path, change: Callable[[SmallCorpus], None], name: str, problem: str
) -> None:
    corpus = small_corpus(VIDEOS)
    change(corpus)
    root = written("msc", corpus, tmp_path / "root")
    kind = name.replace("-", " ")
    assert refusal("msc", root) == (f"{kind}: {problem}; --allow {name} if it is meant",)
    others = frozenset(ALLOWABLE) - {name}
    assert refusal("msc", root, allow=others) == refusal("msc", root)
    report = imported("msc", root, tmp_path / "store", allow=frozenset({name}))
    (warning,) = report.warnings
    assert warning == problem or name.startswith("zero")


def with_zeros(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: np.pad(rows, ((0, 9 - len(rows)), (0, 0))) for key, rows in arrays.items()}


def test_padding_is_trimmed(tmp_path: Path) -> None:
    plain = small_corpus(VIDEOS)
    padded = replace(plain, frames=with_zeros(plain.frames), tokens=with_zeros(plain.tokens))
    expected = imported("msc", written("msc", plain, tmp_path / "plain"), tmp_path / "expected")
    root = written("msc", padded, tmp_path / "root")
    report = imported("msc", root, tmp_path / "store", trim_padding=True)
    assert report.manifest.fingerprint == expected.manifest.fingerprint
    assert report.notes[-2:] == (
        "rows of zeros were cut off the end of 5 videos (--trim-padding)",
        "rows of zeros were cut off the end of 10 captions (--trim-padding)",
    )


def test_nothing_but_padding_stays_and_is_found(tmp_path: Path) -> None:
    corpus = small_corpus(VIDEOS)
    zero_videos(corpus)
    root = written("msc", corpus, tmp_path / "root")
    (problem,) = refusal("msc", root, trim_padding=True)
    assert problem.startswith("zero features: zeros in every row of 4 of 5 videos")
    allowed = {"trim_padding": True, "allow": frozenset({"zero-features"})}
    store = FeatureStore.open(imported("msc", root, tmp_path / "store", **allowed).store)
    assert store.split("train").frames(0).shape == (5, 6)
