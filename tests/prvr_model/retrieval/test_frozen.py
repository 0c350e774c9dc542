"""Frozen scores against slow ones, and verdicts on planted stores."""

import json
import math
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prvr_model.retrieval import frozen, segments
from prvr_model.retrieval.frozen import (
    FORMS,
    frozen_ranks,
    frozen_scores,
    ranks_of_scores,
    segment_scores,
)
from prvr_model.retrieval.metrics import Relevance, best_ranks
from prvr_model.retrieval.sanity import judge, near_chance_warning
from prvr_model.store.reader import FeatureStore
from prvr_model.store.recipe import FeatureRecipe
from prvr_model.store.writer import StoreWriter
from tests.locations import SHARED
from tests.prvr_model.retrieval.planted import planted

DIDEMO_MINI = SHARED / "data" / "didemo_mini"


def slow_score(sentence: np.ndarray, rows: np.ndarray) -> float:
    cosines = [0.0 if not row.any() else float(row @ sentence) for row in rows]
    norms = [float(np.linalg.norm(row) * np.linalg.norm(sentence)) or 1.0 for row in rows]
    return max(cosine / norm for cosine, norm in zip(cosines, norms, strict=True))


def joined(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Segments after one round; each is its rows."""

    def cost(left: np.ndarray, right: np.ndarray) -> float:
        change = np.square(left.mean(axis=0) - right.mean(axis=0)).sum()
        return float(change * len(left) * len(right) / (len(left) + len(right)))

    costs = [math.inf, *(cost(left, right) for left, right in pairwise(parts)), math.inf]
    found: list[np.ndarray] = []
    is_joined = False
    for k, part in enumerate(parts):
        if is_joined:
            found[-1] = np.concatenate([found[-1], part])
        else:
            found.append(part)
        own, beside = costs[k + 1], (costs[k], costs[min(k + 2, len(costs) - 1)])
        wins = [own < other or (own == other and k % 2 == 0) for other in beside]
        is_joined = own < math.inf and all(wins)
    return found


def slow_segment_score(sentence: np.ndarray, rows: np.ndarray) -> float:
    unit = np.array([row / (np.linalg.norm(row) or 1) for row in rows], np.float64)
    parts, found = [row[None] for row in unit], [row[None] for row in unit]
    while len(parts) > 1:
        parts = joined(parts)
        found += parts
    mean = unit.mean(axis=0)
    vectors = [
        segments.SHARED * mean
        + len(part) / (len(part) + segments.NOISE) * (part.mean(axis=0) - mean)
        for part in found
    ]
    return max(float(vector @ sentence) for vector in vectors) / (np.linalg.norm(sentence) or 1)


@pytest.mark.parametrize("products", [1, 40, 1 << 24])
def test_scores_of_any_block_are_those_of_the_slow_versions(
    products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "_PRODUCTS", products)
    rng = np.random.default_rng(3)
    videos = [rng.standard_normal((rows, 5)).astype(np.float16) for rows in (1, 7, 2, 3, 29)]
    videos[1][2:5], videos[3][:] = 0, 0
    videos[4][10:14] = videos[4][10]
    sentences = rng.standard_normal((6, 5)).astype(np.float32)
    sentences[4] = 0
    for fast, slow in ((frozen_scores, slow_score), (segment_scores, slow_segment_score)):
        wanted = [[slow(s, v.astype(np.float32)) for v in videos] for s in sentences]
        np.testing.assert_allclose(fast(sentences, videos), wanted, atol=1e-6)


def test_a_segment_wins_over_a_row_that_its_neighbours_do_not_support() -> None:
    sentence, other = np.eye(8, dtype="f")[:2]
    supported, single = np.tile(other, (12, 1)), np.tile(other, (12, 1))
    supported[4:9] = 0.6 * sentence + 0.8 * np.eye(8)[2]
    single[6] = 0.7 * sentence + 0.71 * np.eye(8)[3]
    videos = [supported, single]
    assert np.argmax(frozen_scores(sentence[None], videos)) == 1
    assert np.argmax(segment_scores(sentence[None], videos)) == 0


def test_equal_rows_join_in_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, cheapest = [], segments._cheapest

    def counted(*parts: np.ndarray) -> np.ndarray:
        rounds.append(len(parts[0]))
        return cheapest(*parts)

    monkeypatch.setattr(segments, "_cheapest", counted)
    rows = np.tile(np.eye(3, dtype="f")[0], (1025, 1))
    vectors, starts = segments.segments(rows, np.array([0, 1024]))
    assert rounds == [1025 - 1024 + 1024 // 2**k for k in range(11)]
    assert (len(vectors), starts.tolist()) == (2 * 1024 - 1 + 1, [0, 2 * 1024 - 1])
    np.testing.assert_allclose(vectors, segments.SHARED * rows[:1].repeat(2048, 0), atol=1e-6)


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_ranks_are_those_of_trained_models(
    scores: list[list[int]], first: int, second: int
) -> None:
    values = np.array(scores, np.float32)
    correct = np.tile([first, second], (len(scores), 1))
    wanted = best_ranks(torch.from_numpy(values), Relevance(torch.from_numpy(correct)))
    assert ranks_of_scores(values, correct).tolist() == wanted.tolist()


def test_ranks_of_a_split_are_in_caption_order_with_any_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = FeatureStore.open(planted(tmp_path / "s", mismatch=0.5)).split("val")
    whole = {form: frozen_ranks(split, form=form) for form in FORMS}
    assert all(ranks.min() == 1 < ranks.max() for ranks in whole.values())
    assert (whole["maximum"] != whole["segments"]).any()
    monkeypatch.setattr(frozen, "_CAPTIONS", 7)
    assert all((frozen_ranks(split, form=form) == whole[form]).all() for form in FORMS)
    # A caption that is right for every video is always found.
    every = np.tile(np.arange(40), (80, 1))
    assert (frozen_ranks(split, every) == 1).all()


def test_features_that_belong_together_pass(tmp_path: Path) -> None:
    store = FeatureStore.open(planted(tmp_path / "s", length_s=5.0, seconds_per_row=0.5))
    verdict = judge(store)
    assert verdict.warnings == ()
    assert near_chance_warning(store) is None
    sample = verdict.frozen
    assert (sample.split, sample.videos, sample.captions) == ("val", 40, 80)
    assert sample.recalls["R1"] > 90
    assert sample.chance == {"R1": 2.5, "R5": 12.5, "R10": 25, "R100": 100, "SumR": 140}
    assert sample.right_cosine > sample.random_cosine + 0.05
    assert (verdict.moments, verdict.verified) == (3, 1)
    # Texts 0 to 29 come again for another video.
    assert verdict.shared_text_percent == {"val": 75}
    rate = verdict.row_rate
    assert (rate.lowest, rate.median, rate.highest, rate.stated) == (2, 2, 2, 2)
    json.dumps(verdict.to_dict(), allow_nan=False)
    text = "\n".join(verdict.lines())
    assert "val: 40 videos (median 10 rows, 5.0 s), 80 captions (median 2 rows); 75.0 %" in text
    assert "rows a second: 2.00 (5th to 95th percentile 2.00 to 2.00, 40 videos, stated" in text
    assert "captions with moments: 3, with verified videos: 1" in text
    assert "chance R1 2.5 R5 12.5 R10 25.0 R100 100.0 SumR 140.0" in text


def test_features_that_do_not_match_are_told_with_the_usual_causes(tmp_path: Path) -> None:
    store = FeatureStore.open(planted(tmp_path / "s", mismatch=1.0))
    verdict = judge(store)
    assert verdict.frozen.is_near_chance
    (warning,) = verdict.warnings
    assert warning.startswith("the features of val retrieve at chance: SumR 1")
    assert "where a random order of 40 videos has 140.0" in warning
    assert "usual causes: tokens before the text projection" in warning
    assert near_chance_warning(store) == warning


def test_a_row_rate_that_is_not_the_stated_one_is_told(tmp_path: Path) -> None:
    store = planted(tmp_path / "s", length_s=5.0, seconds_per_row=1.0)
    (warning,) = judge(FeatureStore.open(store)).warnings
    assert warning.startswith("videos have 2.00 rows a second by their lengths, not the 1.00 that")


def test_row_rates_that_differ_between_videos_are_told(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", name="cut", video_dim=2, text_dim=3) as writer:
        for video in range(30):
            writer.add_video("train", f"v{video}", np.ones((8, 2), "f"), 4.0 + video)
            writer.add_caption("train", f"c{video}", f"v{video}", "text", np.ones((1, 3), "f"))
    verdict = judge(FeatureStore.open(tmp_path / "s"))
    (warning,) = verdict.warnings
    assert warning.startswith("rows a second differ from video to video (0.2")
    assert verdict.not_compared.startswith("text (3) and video (2) have different dimensions")
    assert "frozen features: text (3) and" in verdict.lines()[-1]


def test_few_videos_and_generated_data_are_not_judged(
    tmp_path: Path, tiny_store: FeatureStore
) -> None:
    few = judge(FeatureStore.open(planted(tmp_path / "s", num_videos=19)))
    assert few.not_compared == "19 videos are too few to tell chance from more"
    assert judge(tiny_store).not_compared == "text and video of generated data share no space"


def test_the_recipe_is_told_in_words(tmp_path: Path) -> None:
    recipe = FeatureRecipe(
        encoder="tiny",
        architecture="CLIPModel",
        weights_sha256="0" * 64,
        preprocessing_sha256="1" * 64,
        frames_per_second=3,
        sentence_row="eos",
        max_tokens=77,
    )
    store = FeatureStore.open(planted(tmp_path / "s", length_s=5.0))
    made = FeatureStore(store.path, store.manifest.model_copy(update={"recipe": recipe}))
    verdict = judge(made)
    assert verdict.recipe.startswith("tiny (CLIPModel), 3 rows a second, tokens projected, sent")
    assert "not the 3.00 that is stated" in verdict.warnings[0]


@pytest.mark.skipif(not DIDEMO_MINI.exists(), reason=f"{DIDEMO_MINI} is not on this machine")
def test_the_recalls_of_didemo_mini_are_the_known_ones() -> None:
    folder = DIDEMO_MINI / "didemo_mini"
    lines = (folder / "TextData/didemo_minitest.caption.txt").read_text().splitlines()
    captions = [line.split()[0] for line in lines]
    owners = [caption.partition("#")[0] for caption in captions]
    names = list(dict.fromkeys(owners))
    with h5py.File(folder / "TextData/didemo_mini_clip_L14.h5") as texts:
        sentences = np.array([texts[caption][-1] for caption in captions])
    with h5py.File(folder / "FeatureData/didemo_mini_clip_L14.h5") as videos:
        rows = [videos[name][()] for name in names]
    correct = np.array([[names.index(owner)] for owner in owners])
    for scores, known in (
        (frozen_scores(sentences, rows), [8.0, 21.3, 30.8, 89.7]),
        (segment_scores(sentences, rows), [12.6, 28.0, 39.7, 90.7]),
    ):
        ranks = ranks_of_scores(scores, correct)
        recalls = [100 * float((ranks <= depth).mean()) for depth in (1, 5, 10, 100)]
        assert recalls == pytest.approx(known, abs=0.05)
