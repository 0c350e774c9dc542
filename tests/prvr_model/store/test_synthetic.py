"""Generated data: repeatable, of the sizes asked for, and harder where it is told to be."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from prvr_model.store.reader import FeatureStore, StoreSplit
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.cases import rest_in_soak

# Every value is given, so that a new default does not look like a change of the generator.
FIXED = SyntheticSettings(
    seed=3, train_videos=4, val_videos=2, test_videos=2, video_dim=8, text_dim=6, event_dim=5,
    event_pool=7, num_shows=2, min_events=2, max_events=3, captions_per_event=2, min_frames=9,
    max_frames=12, min_tokens=3, max_tokens=5, detail=0.5, paraphrase_noise=0.5, token_noise=0.5,
    frame_noise=0.5, background=1.0, unrelated=1.0, gap=0.5,
)  # fmt: skip
FIXED_FINGERPRINT = "20158b7f2259e02b82d649f9e2117460d2bab0519363bca2137f6202f5c7c8ea"


def made(path: Path, settings: SyntheticSettings) -> FeatureStore:
    write_synthetic(path, settings)
    return FeatureStore.open(path)


def test_same_settings_same_store_on_every_machine(tmp_path: Path) -> None:
    assert write_synthetic(tmp_path / "a", FIXED).fingerprint == FIXED_FINGERPRINT


def test_another_seed_gives_another_store(tmp_path: Path) -> None:
    other = FIXED.model_copy(update={"seed": 4})
    assert write_synthetic(tmp_path / "a", other).fingerprint != FIXED_FINGERPRINT


def test_a_split_does_not_depend_on_the_size_of_another(tmp_path: Path) -> None:
    more = FIXED.model_copy(update={"train_videos": 9})
    files = [made(tmp_path / name, one).manifest.files for name, one in (("a", FIXED), ("b", more))]
    assert files[0]["val.videos.arrow"] == files[1]["val.videos.arrow"]
    assert files[0]["train.videos.arrow"] != files[1]["train.videos.arrow"]


def test_sizes_are_those_asked_for(tmp_path: Path) -> None:
    store = made(tmp_path / "a", FIXED)
    split = store.split("train")
    assert [store.manifest.splits[name].videos for name in ("train", "val", "test")] == [4, 2, 2]
    captions = np.bincount(split.caption_video)
    assert set(captions) <= {4, 6}
    assert split.num_frames.min() >= 9
    assert split.num_frames.max() <= 12
    assert set(split.num_tokens) <= {3, 4, 5}
    assert len(set(split.caption_texts)) == len(split.caption_texts)


def test_sentence_vectors_tell_events_apart(tmp_path: Path) -> None:
    """Two captions of one event are nearer to each other than to other events' captions."""
    split = made(tmp_path / "a", FIXED.model_copy(update={"event_pool": 1000})).split("train")
    ids = [caption_id.split("#") for caption_id in split.caption_ids]
    vectors = np.stack([split.tokens(row)[-1] for row in range(len(ids))]).astype(np.float64)
    similarity = vectors @ vectors.T
    per_video = np.bincount(split.caption_video)
    for row, (video, _, number) in enumerate(ids):
        other = (int(number) + per_video[split.caption_video[row]] // 2) % per_video[
            split.caption_video[row]
        ]
        twin = ids.index([video, "enc", str(other)])
        strangers = np.delete(similarity[row], [row, twin])
        assert similarity[row, twin] > strangers.mean()


def fitted_rank(path: Path, **changes: float) -> float:
    """Mean rank of the right video for a linear reader, so that difficulty needs no network.

    It maps sentence vectors to frames by least squares, a few times over: first to the mean
    frame of their video, then to the frame of it that fits best.
    """
    store = made(path, SyntheticSettings(**({"train_videos": 150, "val_videos": 40} | changes)))
    train, val = store.split("train"), store.split("val")
    centre = np.concatenate([train.frames(row) for row in range(150)]).mean(0, dtype=np.float64)
    videos = [train.frames(row) - centre for row in train.caption_video]
    queries = sentences(train)
    targets = np.stack([frames.mean(0) for frames in videos])
    for _ in range(5):
        weights, *_ = np.linalg.lstsq(queries, targets, rcond=1e-3)
        found = zip(videos, queries @ weights, strict=True)
        targets = np.stack([frames[np.argmax(frames @ target)] for frames, target in found])
    mapped = sentences(val) @ weights
    scores = [((val.frames(row) - centre) @ mapped.T).max(0) for row in range(40)]
    ranked = np.stack(scores, axis=1)
    right = ranked[np.arange(len(mapped)), val.caption_video]
    return float((ranked >= right[:, None]).sum(1).mean())


def sentences(split: StoreSplit) -> np.ndarray:
    rows = range(len(split.caption_ids))
    return np.stack([split.tokens(row)[-1] for row in rows]).astype(np.float64)


EASY = {"frame_noise": 0.2, "paraphrase_noise": 0.1, "gap": 0.1, "background": 0.2}


@pytest.fixture(scope="module")
def easy_rank(tmp_path_factory: pytest.TempPathFactory) -> float:
    return fitted_rank(tmp_path_factory.mktemp("easy") / "store", **EASY)


@pytest.mark.parametrize(
    "harder",
    rest_in_soak(
        [
            {"frame_noise": 6.0},
            {"paraphrase_noise": 4.0},
            {"gap": 3.0},
            {"background": 5.0},
            {"unrelated": 4.0},
        ]
    ),
    ids=str,
)
def test_each_knob_makes_retrieval_harder(
    tmp_path: Path, easy_rank: float, harder: dict[str, float]
) -> None:
    assert easy_rank < 3, "chance is 20.5"
    assert fitted_rank(tmp_path / "hard", **(EASY | harder)) > 2 * easy_rank


def test_digest_names_the_settings() -> None:
    assert FIXED.digest == FIXED.model_copy().digest
    assert FIXED.digest != FIXED.model_copy(update={"gap": 0.6}).digest


def test_impossible_ranges_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_frames 200 exceeds max_frames 120"):
        SyntheticSettings(min_frames=200)
    with pytest.raises(ValidationError, match="min_frames 5 is too few for max_events 4"):
        SyntheticSettings(min_frames=5)
