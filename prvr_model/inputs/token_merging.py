"""Merging of neighbouring frames into clips and of similar clips into segments.

All of it depends on frozen features only, is done on the host once per store, and is vectorised
over videos. Ties are broken the same way everywhere: the earlier pair first.

Source: the MSC paper, order-preserving token merging (OP-ToMe) and CBVA.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from prvr_model.inputs.buffers import ReusedMemory

# Cosines that agree to this many decimals are equal: rounding of a matrix product must not
# decide a tie between repeated clips.
_COSINE_DECIMALS = 12


@dataclass(frozen=True)
class MergedClips:
    """Clips of a batch of videos.

    Args:
        features: Size-weighted means of raw frames, in order.
        sizes: Frames in each clip.
        frame_to_clip: Index of each frame's clip, ascending.
    """

    features: Float[np.ndarray, "videos clips dim"]
    sizes: Float[np.ndarray, "videos clips"]
    frame_to_clip: Int[np.ndarray, "videos frames"]


def merge_neighbours(
    frames: Float[np.ndarray, "videos frames dim"],
    targets: Sequence[int],
    memory: ReusedMemory | None = None,
) -> MergedClips:
    """OP-ToMe: in each round merge the most similar pairs (0,1), (2,3), ... down to a target.

    Args:
        frames: Raw (not normalised) resampled frames.
        targets: Tokens after each round; each at least half of the tokens before it, rounded up.
        memory: Memory to work in; without it, new memory. The clips' features are part of it and
            are valid until it is used for other videos.
    """
    memory = memory or ReusedMemory()
    num_videos, num_frames, _ = frames.shape
    tokens, sizes = frames, np.ones((num_videos, num_frames), np.float32)
    for target in targets:
        left = _best_pairs(tokens, tokens.shape[1] - target, memory)
        tokens, sizes = _merge_pairs(tokens, sizes, left, memory)
    # A clip's frames are consecutive, so the sizes in order give the clip of each frame.
    clips = np.tile(np.arange(tokens.shape[1]), num_videos)
    frame_to_clip = np.repeat(clips, sizes.astype(np.int64).ravel())
    return MergedClips(tokens, sizes, frame_to_clip.reshape(num_videos, num_frames))


def _best_pairs(
    tokens: Float[np.ndarray, "videos tokens dim"], num_merges: int, memory: ReusedMemory
) -> Int[np.ndarray, "videos merges"]:
    """Left tokens of the `num_merges` neighbouring pairs with the largest dot products."""
    num_videos, num_tokens, dim = tokens.shape
    scores = np.empty((num_videos, num_tokens // 2))
    exact = memory.array("exact", (num_tokens // 2 * 2, dim), np.float64)
    # One video at a time: it stays in the processor's cache.
    for rows, row_scores in zip(tokens, scores, strict=True):
        exact[:] = rows[: len(exact)]
        np.einsum("pd,pd->p", exact[0::2], exact[1::2], out=row_scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :num_merges]
    return np.sort(best, axis=1) * 2


def _merge_pairs(
    tokens: Float[np.ndarray, "videos tokens dim"],
    sizes: Float[np.ndarray, "videos tokens"],
    left: Int[np.ndarray, "videos merges"],
    memory: ReusedMemory,
) -> tuple[Float[np.ndarray, "videos kept dim"], Float[np.ndarray, "videos kept"]]:
    """Tokens and sizes after a round, in order."""
    num_videos, num_merges = left.shape
    videos = np.arange(num_videos)[:, None]
    kept = np.ones(sizes.shape, bool)
    kept[videos, left + 1] = False
    # Each earlier pair has removed one token.
    places = left - np.arange(num_merges)
    right_sizes = sizes[videos, left + 1]
    joint_sizes = sizes[videos, left] + right_sizes
    kept_rows = np.nonzero(kept)[1].reshape(num_videos, -1)
    right_share = (right_sizes / joint_sizes)[:, :, None]
    merged = _merge_rows(tokens, kept_rows, left, places, right_share, memory)
    sizes = _keep(sizes, kept)
    sizes[videos, places] = joint_sizes
    return merged, sizes


def _merge_rows(
    tokens: Float[np.ndarray, "videos tokens dim"],
    kept: Int[np.ndarray, "videos kept"],
    left: Int[np.ndarray, "videos merges"],
    places: Int[np.ndarray, "videos merges"],
    right_share: Float[np.ndarray, "videos merges 1"],
    memory: ReusedMemory,
) -> Float[np.ndarray, "videos kept dim"]:
    """Kept tokens of every video; those at `places` are the means of merged pairs."""
    num_videos, num_kept = kept.shape
    dim, dtype = tokens.shape[2], tokens.dtype.type
    merged = memory.array(f"tokens {num_kept}", (num_videos, num_kept, dim), dtype)
    first = memory.array("first", (left.shape[1], dim), dtype)
    second = memory.array("second", (left.shape[1], dim), dtype)
    # One video at a time: it stays in the processor's cache.
    for video, rows in enumerate(tokens):
        rows.take(kept[video], axis=0, out=merged[video], mode="clip")
        rows.take(left[video], axis=0, out=first, mode="clip")
        rows.take(left[video] + 1, axis=0, out=second, mode="clip")
        merged[video, places[video]] = _weighted_mean(first, second, right_share[video], second)
    return merged


def _keep(
    values: Shaped[np.ndarray, "videos tokens *dim"], kept: Bool[np.ndarray, "videos tokens"]
) -> Shaped[np.ndarray, "videos kept *dim"]:
    """A copy of the kept values, in order; every video keeps equally many."""
    rows = np.flatnonzero(kept)
    flat = values.reshape(-1, *values.shape[2:])
    taken: np.ndarray = flat.take(rows, axis=0).reshape(len(values), -1, *values.shape[2:])
    return taken


def _weighted_mean(
    left: Float[np.ndarray, "*pairs dim"],
    right: Float[np.ndarray, "*pairs dim"],
    right_share: Float[np.ndarray, "*pairs 1"],
    out: Float[np.ndarray, "*pairs dim"] | None = None,
) -> Float[np.ndarray, "*pairs dim"]:
    """Mean weighted by the right token's share; of equal tokens exactly that token.

    Rounding must not make repeated frames differ, or it would decide ties of the next round.
    """
    mean: np.ndarray = np.subtract(right, left, out=out)
    mean *= right_share
    mean += left
    return mean


def inner_products(
    clips: Float[np.ndarray, "videos clips dim"],
) -> Float[np.ndarray, "videos clips clips"]:
    """Inner products of each video's clips, in float64."""
    num_videos, num_clips, dim = clips.shape
    products = np.empty((num_videos, num_clips, num_clips))
    exact = np.empty((num_clips, dim))
    # One video at a time: it stays in the processor's cache.
    for rows, product in zip(clips, products, strict=True):
        exact[:] = rows
        np.matmul(exact, exact.T, out=product)
    return products


def _cosines(
    products: Float[np.ndarray, "videos tokens tokens"],
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> Float[np.ndarray, "videos rows columns"]:
    """Cosine similarities of some tokens with others; a zero token has cosine 0 to all."""
    norms = np.sqrt(np.maximum(np.diagonal(products, axis1=1, axis2=2), 0))
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    cosines = products[:, rows, columns] * inverse[:, rows, None] * inverse[:, None, columns]
    rounded: np.ndarray = np.round(cosines, _COSINE_DECIMALS)
    return rounded


def tree_from_products(
    products: Float[np.ndarray, "videos clips clips"],
) -> Float[np.ndarray, "videos clips_less_one"]:
    """Edge weights of each video's maximum spanning tree over cosines, in the order of Prim.

    Prim's algorithm leaves a single-linkage component only when it is exhausted, so the
    components at any threshold are runs of this order, split where a weight does not exceed
    it. These weights give the connectivity for every tau.

    Args:
        products: Inner products of each video's clips.
    """
    similarity = _cosines(products)
    num_videos, num_clips, _ = similarity.shape
    videos = np.arange(num_videos)
    nearest = similarity[:, 0].copy()
    nearest[:, 0] = -np.inf
    outside = np.ones((num_videos, num_clips), bool)
    outside[:, 0] = False
    weights = np.empty((num_videos, num_clips - 1))
    for edge in range(num_clips - 1):
        joined = np.argmax(nearest, axis=1)
        weights[:, edge] = nearest[videos, joined]
        outside[videos, joined] = False
        nearest = np.where(outside, np.maximum(nearest, similarity[videos, joined]), -np.inf)
    return weights


def connected_pairs(
    tree_weights: Float[np.ndarray, "videos clips_less_one"], tau: float
) -> Int[np.ndarray, "videos"]:
    """Ordered pairs of different clips connected by cosines above `tau`, closed transitively."""
    num_videos, num_edges = tree_weights.shape
    component = np.concatenate(
        [np.zeros((num_videos, 1), np.int64), np.cumsum(tree_weights <= tau, axis=1)], axis=1
    )
    members = (component[:, :, None] == np.arange(num_edges + 1)).sum(axis=1)
    pairs: np.ndarray = (members * (members - 1)).sum(axis=1)
    return pairs


def connectivity(
    tree_weights: Float[np.ndarray, "videos clips_less_one"], tau: float
) -> Float[np.ndarray, "videos"]:
    """Omega: share of off-diagonal clip pairs connected at `tau`, in [0, 1]."""
    num_clips = tree_weights.shape[1] + 1
    share: np.ndarray = connected_pairs(tree_weights, tau) / (num_clips * (num_clips - 1))
    return share


def choose_levels(
    tree_weights: Float[np.ndarray, "videos clips_less_one"], tau: float, num_levels: int
) -> Int[np.ndarray, "videos"]:
    """Index of each video's level, `min(K - 1, floor(K * omega))`, in integer arithmetic."""
    num_clips = tree_weights.shape[1] + 1
    scaled = num_levels * connected_pairs(tree_weights, tau) // (num_clips * (num_clips - 1))
    level: np.ndarray = np.minimum(scaled, num_levels - 1)
    return level


def plans_from_products(
    products: Float[np.ndarray, "videos clips clips"],
    sizes: Float[np.ndarray, "videos clips"],
    levels: Sequence[int],
) -> Int[np.ndarray, "videos levels clips"]:
    """Segment of every clip at every level.

    Each level continues from the one before by greedy one-to-one matching of even with odd tokens
    by cosine. A level below half of the one before is reached over intermediate rounds. A mean's
    products are means of products, so the clips themselves are not needed.

    Args:
        products: Inner products of each video's normalised clips.
        sizes: Frames in each clip, the weights of the means.
        levels: Numbers of segments, falling from the number of clips.
    """
    num_videos, num_clips, _ = products.shape
    segment = np.tile(np.arange(num_clips), (num_videos, 1))
    plans = np.empty((num_videos, len(levels), num_clips), np.int64)
    weights = sizes.astype(np.float64)
    for level, target in enumerate(levels):
        while weights.shape[1] > target:
            num_merges = min(weights.shape[1] - target, weights.shape[1] // 2)
            products, weights, new_index = _match_and_merge(products, weights, num_merges)
            segment = np.take_along_axis(new_index, segment, axis=1)
        plans[:, level] = segment
    return plans


def _match_and_merge(
    products: Float[np.ndarray, "videos tokens tokens"],
    weights: Float[np.ndarray, "videos tokens"],
    num_merges: int,
) -> tuple[
    Float[np.ndarray, "videos kept kept"],
    Float[np.ndarray, "videos kept"],
    Int[np.ndarray, "videos tokens"],
]:
    """One round: merge the best even-odd pairs into the even token.

    `products` are the inner products of all tokens; merging mixes their rows, then their columns.
    A mean of opposite tokens, next to zero, would have lost its direction to rounding; features
    of neighbouring clips are never opposite.
    """
    cosines = _cosines(products, slice(0, None, 2), slice(1, None, 2))
    partner = _greedy_matching(cosines, num_merges)
    videos = np.arange(len(weights))[:, None]
    evens, odds = 2 * partner[0], 2 * partner[1] + 1
    kept = np.ones(weights.shape, bool)
    kept[videos, odds] = False
    new_index = np.cumsum(kept, axis=1) - 1
    new_index[videos, odds] = new_index[videos, evens]
    joint_weight = weights[videos, evens] + weights[videos, odds]
    odd_share = (weights[videos, odds] / joint_weight)[:, :, None]
    for _ in range(2):
        left, right = products[videos, evens], products[videos, odds]
        mixed = _weighted_mean(left, right, odd_share)
        products = _keep(products, kept)
        products[videos, new_index[videos, evens]] = mixed
        products = products.transpose(0, 2, 1)
    weights = _keep(weights, kept)
    weights[videos, new_index[videos, evens]] = joint_weight
    return products, weights, new_index


def _greedy_matching(
    similarity: Float[np.ndarray, "videos evens odds"], num_merges: int
) -> Int[np.ndarray, "2 videos merges"]:
    """The best pairs, each token once: rows of (even, odd) indices, best first."""
    num_videos, _, num_odds = similarity.shape
    free = similarity.copy()
    videos = np.arange(num_videos)
    pairs = np.empty((2, num_videos, num_merges), np.int64)
    for merge in range(num_merges):
        # argmax takes the first of equals: the lower even token, then the lower odd one.
        even, odd = np.divmod(np.argmax(free.reshape(num_videos, -1), axis=1), num_odds)
        pairs[:, :, merge] = even, odd
        free[videos, even] = -np.inf
        free[videos, :, odd] = -np.inf
    return pairs
