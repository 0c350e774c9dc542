"""What is asked of a gallery, between the service and the replicas that search."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Asked:
    """A question: a sentence, or token features.

    Args:
        query: The sentence; empty where there are token features.
        tokens: Token features, (length, text_dim) float32; None: encode the sentence.
        top: Videos wanted.
        moments: Moments wanted of each video.
    """

    query: str
    tokens: np.ndarray | None = None
    top: int = 10
    moments: int = 1
