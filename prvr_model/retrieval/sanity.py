"""Whether a store's features belong together: a verdict on a sample, in under a second.

Mismatched features train for days and retrieve at chance. Where text and video features have one
dimension, the frozen features must retrieve better than chance before any training, and right pairs
must be more alike than random ones.

Source: METHOD, from videos and captions to features.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prvr_model.reporting import RECALL_DEPTHS
from prvr_model.retrieval.frozen import (
    frozen_scores,
    ranks_of_scores,
    sentence_vectors,
    unit_rows,
    why_no_shared_space,
)
from prvr_model.store.reader import FeatureStore, StoreSplit
from prvr_model.store.summary import captions_of_shared_text

# The sample: about 0.5 s of two cores for rows of 768.
_MOST_ROWS = 30_000
_MOST_CAPTIONS = 1_000
_FEWEST_VIDEOS = 20
# Splits that are sampled, the first that the store has: what trials are selected on comes first.
_SAMPLED = ("val", "test", "train")
# Near chance: less than this share of the way from chance to a perfect SumR. Features that belong
# together go 0.16 of it and more in published numbers (Charades, the hardest), mismatched ones 0.
_NEAR_CHANCE = 0.05
_STANDARD_ERRORS = 3
_PERFECT = 100.0 * len(RECALL_DEPTHS)

USUAL_CAUSES = (
    "usual causes: tokens before the text projection beside video rows behind it; features of two "
    "encoders, or of a file named for another; names or order of captions that belong to other "
    "videos. Features of separate text and video encoders (RoBERTa with I3D) share no space: for "
    "them chance is expected and says nothing"
)


@dataclass(frozen=True)
class FrozenSample:
    """What the frozen features retrieve on a sample.

    Args:
        split: Split of the sample.
        videos: Videos in it, the gallery.
        captions: Captions in it.
        recalls: R1, R5, R10, R100 and SumR in percent.
        chance: The same where the order is random.
        right_cosine: Mean cosine of sentence vectors with the rows of their own videos.
        random_cosine: With the rows of the other videos.
        is_near_chance: Whether the features retrieve hardly better than chance.
    """

    split: str
    videos: int
    captions: int
    recalls: dict[str, float]
    chance: dict[str, float]
    right_cosine: float
    random_cosine: float
    is_near_chance: bool


@dataclass(frozen=True)
class RowRate:
    """Rows a second of the videos whose length is known.

    Args:
        videos: How many these are.
        lowest: The 5th percentile over the videos.
        median: The median.
        highest: The 95th percentile.
        stated: What the recipe says; None if it is not known.
    """

    videos: int
    lowest: float
    median: float
    highest: float
    stated: float | None


@dataclass(frozen=True)
class StoreVerdict:
    """Whether a store is sane.

    Args:
        recipe: How the features were made, in words.
        splits: Counts of videos and captions, and medians of frames, tokens and seconds.
        row_rate: Rows a second; None if no length is known.
        moments: Captions with moments, over all splits.
        verified: Captions with verified videos.
        query_types: Captions of each type of query, the most frequent first.
        shared_text_percent: Share of captions whose text another video has too, by split.
        frozen: What the frozen features retrieve; None if they cannot be compared.
        not_compared: Why not; None if they are.
        warnings: What is probably wrong.
    """

    recipe: str
    splits: dict[str, dict[str, float | None]]
    row_rate: RowRate | None
    moments: int
    verified: int
    query_types: dict[str, int]
    shared_text_percent: dict[str, float]
    frozen: FrozenSample | None
    not_compared: str | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "warnings": list(self.warnings)}

    def lines(self) -> list[str]:
        """The verdict for a terminal, one fact a line, what is wrong last."""
        return [f"  {line}" for line in _lines(self)]


def judge(store: FeatureStore) -> StoreVerdict:
    """Verdict on a store; reads a sample of its features and writes nothing."""
    splits = {name: store.split(name) for name in store.manifest.splits}
    frozen, why_not = frozen_sample(store)
    rate = _row_rate(store, list(splits.values()))
    warnings = [*_frozen_warnings(frozen), *_rate_warnings(rate)]
    return StoreVerdict(
        recipe=_recipe(store),
        splits={name: _counts(split) for name, split in splits.items()},
        row_rate=rate,
        moments=sum(sum(map(bool, split.moments)) for split in splits.values()),
        verified=sum(sum(map(bool, split.relevant)) for split in splits.values()),
        query_types=_query_types(splits.values()),
        shared_text_percent={
            name: 100 * captions_of_shared_text(split) / len(split.caption_ids)
            for name, split in splits.items()
        },
        frozen=frozen,
        not_compared=why_not,
        warnings=tuple(warnings),
    )


def near_chance_warning(store: FeatureStore) -> str | None:
    """What a sweep on this store should be warned of, from a sample of its features."""
    frozen, _ = frozen_sample(store)
    return next(iter(_frozen_warnings(frozen)), None)


def frozen_sample(store: FeatureStore) -> tuple[FrozenSample | None, str | None]:
    """What the frozen features retrieve on a sample of one split; or why that says nothing."""
    if why := why_no_shared_space(store.manifest):
        return None, why
    split = store.split(next(name for name in _SAMPLED if store.has_split(name)))
    videos = _sampled_videos(split)
    if len(videos) < _FEWEST_VIDEOS:
        return None, f"{len(videos)} videos are too few to tell chance from more"
    place = np.full(len(split.video_ids), -1)
    place[videos] = np.arange(len(videos))
    captions = _spread(np.flatnonzero(place[split.caption_video] >= 0), _MOST_CAPTIONS)
    owners = place[split.caption_video[captions]]
    return _compared(split, videos, captions, owners), None


def _compared(
    split: StoreSplit, videos: np.ndarray, captions: np.ndarray, owners: np.ndarray
) -> FrozenSample:
    sentences = sentence_vectors(split, captions.tolist())
    rows = [split.frames(video) for video in videos.tolist()]
    ranks = ranks_of_scores(frozen_scores(sentences, rows), owners[:, None])
    chance = {f"R{depth}": 100 * min(1.0, depth / len(videos)) for depth in RECALL_DEPTHS}
    recalls = {f"R{depth}": 100 * float((ranks <= depth).mean()) for depth in RECALL_DEPTHS}
    for found in (chance, recalls):
        found["SumR"] = sum(found.values())
    right, random = _mean_cosines(sentences, rows, owners)
    return FrozenSample(
        split=split.name,
        videos=len(videos),
        captions=len(captions),
        recalls=recalls,
        chance=chance,
        right_cosine=right,
        random_cosine=random,
        is_near_chance=_is_near_chance(ranks, owners, recalls["SumR"], chance["SumR"]),
    )


def _is_near_chance(
    ranks: np.ndarray, owners: np.ndarray, sum_of_recalls: float, chance: float
) -> bool:
    """Little above chance, or not above it beyond the luck of the sample."""
    outcomes = sum(100.0 * (ranks <= depth) for depth in RECALL_DEPTHS)
    # Captions of one video succeed and fail together: the video is the unit of the error.
    _, video, counts = np.unique(owners, return_inverse=True, return_counts=True)
    excess = np.bincount(video, weights=outcomes - sum_of_recalls)
    error = float(np.sqrt((excess**2).sum()) / counts.sum())
    needed = max(_STANDARD_ERRORS * error, _NEAR_CHANCE * (_PERFECT - chance))
    return sum_of_recalls - chance < needed


def _mean_cosines(
    sentences: np.ndarray, rows: Sequence[np.ndarray], owners: np.ndarray
) -> tuple[float, float]:
    """Mean cosine of sentences with the rows of their own and of all other videos."""
    means = np.array([unit_rows(video).mean(axis=0) for video in rows])
    cosines = unit_rows(sentences) @ means.T
    own = cosines[np.arange(len(owners)), owners]
    others = (cosines.sum(axis=1) - own) / (len(rows) - 1)
    return float(own.mean()), float(others.mean())


def _sampled_videos(split: StoreSplit) -> np.ndarray:
    """As many videos, spread over the split, as have no more rows than the sample may."""
    mean_rows = float(split.num_frames.mean())
    captioned = np.unique(split.caption_video)
    return _spread(captioned, max(1, int(_MOST_ROWS / mean_rows)))


def _spread(items: np.ndarray, most: int) -> np.ndarray:
    """At most so many items, evenly spread, in order; the same ones each time."""
    if len(items) <= most:
        return items
    return items[np.linspace(0, len(items) - 1, most).round().astype(np.int64)]


def _frozen_warnings(frozen: FrozenSample | None) -> list[str]:
    if frozen is None or not frozen.is_near_chance:
        return []
    return [
        f"the features of {frozen.split} retrieve at chance: SumR {frozen.recalls['SumR']:.1f}, "
        f"where a random order of {frozen.videos} videos has {frozen.chance['SumR']:.1f}; right "
        f"pairs have a mean cosine of {frozen.right_cosine:.3f}, random ones "
        f"{frozen.random_cosine:.3f}. If text and video should be of one space, they do not match "
        f"and training on them is wasted; {USUAL_CAUSES}"
    ]


def _row_rate(store: FeatureStore, splits: Sequence[StoreSplit]) -> RowRate | None:
    lengths = np.concatenate([split.durations_s for split in splits])
    rows = np.concatenate([split.num_frames for split in splits])
    known = np.isfinite(lengths)
    if not known.any():
        return None
    low, median, high = np.percentile(rows[known] / lengths[known], [5, 50, 95])
    recipe, seconds = store.manifest.recipe, store.manifest.seconds_per_row
    stated = recipe.frames_per_second if recipe else 1 / seconds if seconds else None
    return RowRate(int(known.sum()), float(low), float(median), float(high), stated)


# Rounding of lengths and a last row that is partly filled move the rate of short videos so much.
_RATE_TOLERANCE = 1.25
_MOST_TYPES = 8


def _rate_warnings(rate: RowRate | None) -> list[str]:
    if rate is None:
        return []
    if rate.stated and not 1 / _RATE_TOLERANCE < rate.median / rate.stated < _RATE_TOLERANCE:
        return [
            f"videos have {rate.median:.2f} rows a second by their lengths, not the "
            f"{rate.stated:.2f} that is stated: lengths and features are of different videos, or "
            "features were cut"
        ]
    if rate.highest > rate.lowest * _RATE_TOLERANCE:
        return [
            f"rows a second differ from video to video ({rate.lowest:.2f} to {rate.highest:.2f}): "
            "features were cut at a length or sampled to a fixed number, or lengths are of other "
            "videos; moments in seconds are then less exact"
        ]
    return []


def _recipe(store: FeatureStore) -> str:
    recipe, source = store.manifest.recipe, store.manifest.source
    if recipe is None:
        return f"not known (source: {source.get('kind', 'not known')})"
    return recipe.summary


def _counts(split: StoreSplit) -> dict[str, float | None]:
    known = split.durations_s[np.isfinite(split.durations_s)]
    return {
        "videos": len(split.video_ids),
        "captions": len(split.caption_ids),
        "median_frames": float(np.median(split.num_frames)),
        "median_tokens": float(np.median(split.num_tokens)),
        "median_seconds": float(np.median(known)) if len(known) else None,
    }


def _query_types(splits: Iterable[StoreSplit]) -> dict[str, int]:
    """Captions of each named type."""
    counts = Counter(name for split in splits for name in split.query_types if name)
    return dict(counts.most_common(_MOST_TYPES))


def _lines(verdict: StoreVerdict) -> list[str]:
    lines = [f"recipe: {verdict.recipe}"]
    for name, counts in verdict.splits.items():
        seconds = counts["median_seconds"]
        length = "length not known" if seconds is None else f"{seconds:.1f} s"
        lines.append(
            f"{name}: {counts['videos']:.0f} videos (median {counts['median_frames']:.0f} rows, "
            f"{length}), {counts['captions']:.0f} captions (median {counts['median_tokens']:.0f} "
            f"rows); {verdict.shared_text_percent[name]:.1f} % have a text that another video has"
        )
    lines.append(
        f"captions with moments: {verdict.moments}, with verified videos: {verdict.verified}"
    )
    if verdict.query_types:
        named = ", ".join(f"{name} {count}" for name, count in verdict.query_types.items())
        lines.append(f"types of queries: {named}")
    if (rate := verdict.row_rate) is not None:
        stated = f", stated {rate.stated:.2f}" if rate.stated else ""
        lines.append(
            f"rows a second: {rate.median:.2f} (5th to 95th percentile {rate.lowest:.2f} to "
            f"{rate.highest:.2f}, {rate.videos} videos{stated})"
        )
    return [*lines, *_frozen_lines(verdict)]


def _frozen_lines(verdict: StoreVerdict) -> list[str]:
    frozen = verdict.frozen
    if frozen is None:
        return [f"frozen features: {verdict.not_compared}"]
    recalls, chance = (
        " ".join(f"{name} {value:.1f}" for name, value in found.items())
        for found in (frozen.recalls, frozen.chance)
    )
    return [
        f"frozen features on {frozen.captions} captions and {frozen.videos} videos of "
        f"{frozen.split}: {recalls}; chance {chance}",
        f"mean cosine: right pairs {frozen.right_cosine:.3f}, random pairs "
        f"{frozen.random_cosine:.3f}",
    ]
