"""What is in a store and what a user should know before training on it.

Reads every row once and keeps only running figures, so memory does not grow with the store.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from prvr_model.store.format import SPLIT_NAMES, zero_row_warnings
from prvr_model.store.reader import FeatureStore, StoreSplit

# Rounding to float16 moves the norm of a unit row by less than this.
_UNIT_TOLERANCE = 0.01
_DIGITS = 6


def summarise(store: FeatureStore) -> dict[str, Any]:
    """Counts, lengths, norms and warnings of a store, as plain JSON.

    Returns:
        `splits` has for each split the counts of videos and captions, the range of frames per
        video, tokens per caption and captions per video, and the norms of frame rows, token rows
        and sentence vectors before any normalisation. `warnings` are sentences.
    """
    manifest = store.manifest
    warnings = [f"there is no {name} split" for name in SPLIT_NAMES if not store.has_split(name)]
    frames, tokens = _RowFigures(), _RowFigures()
    splits = {
        name: _split_summary(store.split(name), frames, tokens, warnings)
        for name in manifest.splits
    }
    frames.warn("video features", warnings)
    tokens.warn("text features", warnings)
    warnings += zero_row_warnings(manifest)
    _warn_of_shared_videos(store, warnings)
    return {
        "name": manifest.name,
        "path": str(store.path),
        "format_version": manifest.format_version,
        "fingerprint": manifest.fingerprint,
        "size_bytes": sum(record.size_bytes for record in manifest.files.values()),
        "video": {"dim": manifest.video_dim, "dtype": manifest.video_dtype},
        "text": {"dim": manifest.text_dim, "dtype": manifest.text_dtype},
        "source": manifest.source,
        "splits": splits,
        "warnings": warnings,
    }


def _split_summary(
    split: StoreSplit,
    all_frames: "_RowFigures",
    all_tokens: "_RowFigures",
    warnings: list[str],
) -> dict[str, Any]:
    frames, tokens, sentences = _RowFigures(), _RowFigures(), _RowFigures()
    for rows in _each(split.frames, len(split.video_ids)):
        frames.add(rows)
    for rows in _each(split.tokens, len(split.caption_ids)):
        tokens.add(rows)
        sentences.add(rows[-1:])
    all_frames.merge(frames)
    all_tokens.merge(tokens)
    _warn_of_captions(split, warnings)
    captions = np.bincount(split.caption_video, minlength=len(split.video_ids))
    return {
        "videos": len(split.video_ids),
        "captions": len(split.caption_ids),
        "frames_per_video": _range(split.num_frames),
        "tokens_per_caption": _range(split.num_tokens),
        "captions_per_video": _range(captions),
        "frame_norm": frames.norms(),
        "token_norm": tokens.norms(),
        "sentence_norm": sentences.norms(),
    }


class _RowFigures:
    """Running figures of feature rows: their norms, and the range of each dimension."""

    def __init__(self) -> None:
        self._count = self._zeros = 0
        self._sum = 0.0
        self._norms = (np.inf, -np.inf)
        self._dims: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, rows: np.ndarray) -> None:
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        self._count += len(rows)
        self._zeros += int(np.count_nonzero(norms == 0))
        self._sum += float(norms.sum())
        self._norms = (min(self._norms[0], norms.min()), max(self._norms[1], norms.max()))
        self._widen(rows.min(axis=0), rows.max(axis=0))

    def merge(self, other: "_RowFigures") -> None:
        self._count += other._count
        self._zeros += other._zeros
        self._sum += other._sum
        self._norms = (min(self._norms[0], other._norms[0]), max(self._norms[1], other._norms[1]))
        if other._dims is not None:
            self._widen(*other._dims)

    def _widen(self, low: np.ndarray, high: np.ndarray) -> None:
        if self._dims is not None:
            low, high = np.minimum(self._dims[0], low), np.maximum(self._dims[1], high)
        self._dims = (low, high)

    def norms(self) -> dict[str, float]:
        low, high = self._norms
        mean = self._sum / self._count
        return {
            "min": round(float(low), _DIGITS),
            "mean": round(mean, _DIGITS),
            "max": round(float(high), _DIGITS),
        }

    def warn(self, what: str, warnings: list[str]) -> None:
        if self._zeros:
            warnings.append(f"{what}: {self._zeros} of {self._count} rows are zero")
        low, high = self._norms
        if low < 1 - _UNIT_TOLERANCE or high > 1 + _UNIT_TOLERANCE:
            warnings.append(
                f"{what}: rows are not of unit length ({low:.4g} to {high:.4g}); training "
                "normalises them, but frames are averaged and merged as they are"
            )
        constant = 0 if self._dims is None else int(np.count_nonzero(np.equal(*self._dims)))
        if constant and self._count > 1:
            warnings.append(f"{what}: {constant} dimensions are the same in every row")


def _warn_of_captions(split: StoreSplit, warnings: list[str]) -> None:
    if short := int(np.count_nonzero(split.num_tokens == 1)):
        warnings.append(f"{split.name}: {short} captions have a single token")
    if shared := captions_of_shared_text(split):
        share = 100 * shared / len(split.caption_ids)
        warnings.append(
            f"{split.name}: {shared} captions ({share:.1f} %) have a text that another video has "
            "too; evaluation.relevance: same_text counts those videos as correct"
        )
    if empty := sum(not text for text in split.caption_texts):
        warnings.append(f"{split.name}: {empty} captions have no text")


def captions_of_shared_text(split: StoreSplit) -> int:
    """Captions whose text, if they have any, a caption of another video has too."""
    videos: defaultdict[str, set[int]] = defaultdict(set)
    for text, video in zip(split.caption_texts, split.caption_video.tolist(), strict=True):
        videos[text].add(video)
    return sum(len(videos[text]) > 1 for text in split.caption_texts if text)


def _warn_of_shared_videos(store: FeatureStore, warnings: list[str]) -> None:
    names = list(store.manifest.splits)
    for position, name in enumerate(names):
        for other in names[position + 1 :]:
            shared = set(store.split(name).video_ids) & set(store.split(other).video_ids)
            if shared:
                warnings.append(f"{name} and {other} share {len(shared)} videos")


def _range(values: np.ndarray) -> dict[str, float]:
    return {
        "min": int(values.min()),
        "median": float(np.median(values)),
        "max": int(values.max()),
    }


def _each(get: Callable[[int], np.ndarray], count: int) -> Iterator[np.ndarray]:
    return (get(item) for item in range(count))


def summary_lines(summary: dict[str, Any]) -> Sequence[str]:
    """The summary for a terminal, one fact per line."""
    video, text = summary["video"], summary["text"]
    lines = [
        f"{summary['name']}: {summary['path']} ({summary['size_bytes'] / 2**20:.1f} MiB)",
        f"fingerprint {summary['fingerprint']}",
        f"frames of {video['dim']} ({video['dtype']}), tokens of {text['dim']} ({text['dtype']})",
    ]
    for name, split in summary["splits"].items():
        lines.append(f"{name}: {split['videos']} videos, {split['captions']} captions")
        for key, unit in _SHOWN.items():
            figures = ", ".join(f"{part} {value:g}" for part, value in split[key].items())
            lines.append(f"  {unit}: {figures}")
    return [*lines, *(f"warning: {warning}" for warning in summary["warnings"])]


_SHOWN = {
    "frames_per_video": "frames a video",
    "tokens_per_caption": "tokens a caption",
    "captions_per_video": "captions a video",
    "frame_norm": "norm of frames",
    "token_norm": "norm of tokens",
    "sentence_norm": "norm of sentences",
}
