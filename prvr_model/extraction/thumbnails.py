"""A small picture of a video, for lists of results."""

import io
from contextlib import suppress
from pathlib import Path

import numpy as np

from prvr_model.extraction.decoding import Sampling, VideoError, VideoFrames

# A card of a page is about this wide; the file has some 8 kB.
WIDTH = 320
_QUALITY = 80
# The first frames of many videos are black.
_AT_S = 1.0


def thumbnail(path: Path) -> bytes | None:
    """A JPEG file of the frame one second into a video, or of its first; None: it has none."""
    from PIL import Image

    frames: list[np.ndarray] = []
    # Damage is told where features are made; the frames before it serve.
    with suppress(VideoError):
        frames.extend(VideoFrames(path, Sampling(1 / _AT_S, max_seconds=2 * _AT_S)))
    if not frames:
        return None
    picture = Image.fromarray(frames[-1])
    picture.thumbnail((WIDTH, WIDTH))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
