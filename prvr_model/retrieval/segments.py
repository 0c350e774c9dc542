"""Segments of videos on every scale, described so that a product with a sentence is a score.

Neighbouring rows that are most alike are joined, round by round, until one segment is left: what
remains apart longest lies between two events. Each segment that ever existed is kept, from single
rows to the whole video, twice as many as there are rows at most. The cost of joining is Ward's; in
a round every pair joins that is cheaper than the pairs on its left and right.

A row is modelled as what its video shares, what its segment adds, and noise whose variance is
`NOISE` times that of what segments add. Of a segment of n rows with the mean m, in a video of the
mean v, the best linear prediction of what it adds is n / (n + NOISE) (m - v): a few rows count
little until their neighbours support them. The vector of a segment is

    SHARED v + n / (n + NOISE) (m - v)

so the mean of the video counts in part only: where it is alike in all videos, or says where a video
was made rather than what happens in it, it lifts or sinks all rows of a video for every sentence.

Source: own design. Joining neighbours: Ward 1963, rounds of reciprocal nearest neighbours (Murtagh
1983), with only neighbours in time as in kernel temporal segmentation (Potapov et al. 2014) and
TW-FINCH (Sarfraz et al. 2021). Prediction: random effects (Henderson 1975, Robinson 1991).
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

NOISE = 2.0
"""Variance of rows within a segment, in units of the variance between segments of a video.

Chosen on the training and validation videos of `didemo_mini`, on which 1.5 to 4 differ little.
"""
SHARED = 0.5
"""Weight of a video's mean.

On `didemo_mini`, where what a video shares says little, 0.25 retrieves better still (validation
SumR 180, with 0.5 170, the maximum over rows 145). On videos rendered so that what they share says
what they are about, 0.25 retrieves worse than that maximum, 0.5 better: half is safe either way.
"""


def segments(
    rows: Float[np.ndarray, "rows dim"], starts: Int[np.ndarray, "videos"]
) -> tuple[Float[np.ndarray, "segments dim"], Int[np.ndarray, "videos"]]:
    """Vectors of the segments of some videos, which lie one below the other.

    Args:
        rows: Rows of all videos, of norm 1; a row of zeros is allowed.
        starts: First row of each video; every video has a row.

    Returns:
        The vectors, not normalised, and where each video's start.
    """
    lengths = np.diff(np.append(starts, len(rows)))
    video = np.repeat(np.arange(len(starts)), lengths)
    means = np.add.reduceat(rows, starts, axis=0) / lengths[:, None].astype(np.float32)
    found = [(np.ones(len(rows), np.float32), video, rows), *_joined(rows, video)]
    sizes, owners, sums = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(owners, kind="stable")
    sizes, owners, vectors = sizes[order, None], owners[order], sums[order]
    vectors /= sizes
    own = means[owners]
    vectors -= own
    vectors *= sizes / (sizes + NOISE)
    own *= SHARED
    vectors += own
    return vectors, np.searchsorted(owners, np.arange(len(starts)))


def _joined(
    rows: np.ndarray, video: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Size, video and sum of the rows of the segments that each round makes."""
    size, sums = np.ones(len(rows), np.float32), rows.copy()
    while len(left := _cheapest(size, video, sums)):
        for values in (size, sums):
            values[left] += values[left + 1]
        yield size[left], video[left], sums[left]
        size, video, sums = (np.delete(values, left + 1, axis=0) for values in (size, video, sums))


def _cheapest(size: np.ndarray, video: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Segments to join with the next one: cheaper to join than the pairs on both sides.

    No segment is in two pairs. Of equal costs those at even places of a video win, so that equal
    rows join in few rounds.
    """
    means = sums / size[:, None]
    change = means[1:] - means[:-1]
    costs = np.einsum("rd,rd->r", change, change) * size[1:] * size[:-1] / (size[1:] + size[:-1])
    costs[video[1:] != video[:-1]] = np.inf
    wide = np.concatenate([[np.inf], costs, [np.inf]])
    wins = (np.arange(len(video)) - np.searchsorted(video, video))[:-1] % 2 == 0
    lowest = [(costs < other) | ((costs == other) & wins) for other in (wide[:-2], wide[2:])]
    return np.flatnonzero(lowest[0] & lowest[1] & np.isfinite(costs))
