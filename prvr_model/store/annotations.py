"""What is known of a video and a caption besides features: duration, moments, labels, type."""

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
        query_type: What the caption is about as its annotation names it, e.g. TVR's `v` (what is
            seen), `t` (what is said) and `vt`; empty if nobody said.
    """

    moments: Sequence[tuple[float, float]] = ()
    relevant: Sequence[str] = ()
    query_type: str = ""


NOTHING_KNOWN = CaptionAnnotation()


def video_bytes(duration_s: float) -> bytes:
    """What a video's duration adds to the digest of its file; nothing where it is unknown."""
    return b"" if np.isnan(duration_s) else np.float64(duration_s).astype("<f8").tobytes()


def caption_bytes(
    moments: Sequence[Sequence[float]], relevant: Sequence[int], query_type: str = ""
) -> bytes:
    """What a caption's annotation adds to the digest of its file; nothing where none is known.

    Args:
        moments: Start and end in seconds of each.
        relevant: Rows of relevant videos in the split.
        query_type: What the caption is about; empty where that is unknown.
    """
    if not (len(moments) or len(relevant) or query_type):
        return b""
    parts = [np.asarray(moments, "<f8"), np.asarray(relevant, "<i8")]
    if query_type:
        parts.append(np.frombuffer(query_type.encode(), np.uint8))
    return b"".join(np.int64(part.size).astype("<i8").tobytes() + part.tobytes() for part in parts)
