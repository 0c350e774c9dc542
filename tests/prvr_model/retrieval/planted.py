"""Stores whose text and video features share a space, as much as a test wants."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.writer import StoreWriter

DIM = 24


# Six: what a test plants, each with a default.
def planted(
    path: Path,
    *,
    mismatch: float = 0.0,
    num_videos: int = 40,
    length_s: float = math.nan,
    seconds_per_row: float | None = None,
    splits: Sequence[str] = ("val",),
) -> Path:
    """Videos of ten rows, one of which is near the sentence of its two captions.

    A share `mismatch` of the captions has the sentence of nobody. Three captions have moments, one
    has verified videos.
    """
    rng = np.random.default_rng(7)
    with StoreWriter(
        path, name="planted", video_dim=DIM, text_dim=DIM, seconds_per_row=seconds_per_row
    ) as writer:
        for split in splits:
            topics = rng.standard_normal((num_videos, DIM))
            for video, topic in enumerate(topics):
                rows = rng.standard_normal((10, DIM))
                rows[3] = topic + 0.3 * rng.standard_normal(DIM)
                writer.add_video(split, f"{split}{video}", rows.astype("f"), length_s)
            for caption in range(2 * num_videos):
                is_lost = rng.random() < mismatch
                sentence = rng.standard_normal(DIM) if is_lost else topics[caption // 2]
                tokens = np.stack([rng.standard_normal(DIM), sentence]).astype("f")
                known = CaptionAnnotation(
                    [(0, 1)] if caption < 3 else [], [f"{split}1"] * (caption == 0)
                )
                own = f"{split}{caption // 2}"
                text = f"text {caption % 50}"
                writer.add_caption(split, f"{own}#{caption}", own, text, tokens, known)
    return path
