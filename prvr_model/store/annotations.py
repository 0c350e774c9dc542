"""What is known of a video and a caption besides features: duration, moments, relevant videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

MOMENTS_TYPE = pa.list_(pa.list_(pa.float64(), 2))
RELEVANT_TYPE = pa.list_(pa.int64())


@dataclass(frozen=True)
class CaptionAnnotation:
    """What is known of a caption; nothing by default.

    Args:
        moments: Start and end in seconds of each span of its video that shows what it says.
        relevant: Ids of all videos of its split that are verified to show it, its own one among
            them or not; empty if nobody verified.
    """

    moments: Sequence[tuple[float, float]] = ()
    relevant: Sequence[str] = ()


NOTHING_KNOWN = CaptionAnnotation()


def video_bytes(duration_s: float) -> bytes:
    """What a video's duration adds to the digest of its file; nothing where it is unknown."""
    return b"" if np.isnan(duration_s) else np.float64(duration_s).astype("<f8").tobytes()


def caption_bytes(moments: Sequence[Sequence[float]], relevant: Sequence[int]) -> bytes:
    """What a caption's annotation adds to the digest of its file; nothing where none is known.

    Args:
        moments: Start and end in seconds of each.
        relevant: Rows of relevant videos in the split.
    """
    if not len(moments) and not len(relevant):
        return b""
    parts = (np.asarray(moments, "<f8"), np.asarray(relevant, "<i8"))
    return b"".join(np.int64(part.size).astype("<i8").tobytes() + part.tobytes() for part in parts)
