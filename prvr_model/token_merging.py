"""Merging of neighbouring frames into clips and of similar clips into segments.

All of it depends on frozen features only, is done on the host once per store, and is vectorised
over videos. Ties are broken the same way everywhere: the earlier pair first.

Source: the MSC paper, order-preserving token merging (OP-ToMe) and CBVA.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

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
    frames: Float[np.ndarray, "videos frames dim"], targets: Sequence[int]
) -> MergedClips:
    """OP-ToMe: in each round merge the most similar pairs (0,1), (2,3), ... down to a target.

    Args:
        frames: Raw (not normalised) resampled frames.
        targets: Tokens after each round; each at least half of the tokens before it, rounded up.
    """
    num_videos, num_frames, _ = frames.shape
    tokens = frames
    sizes = np.ones((num_videos, num_frames), np.float32)
    frame_to_token = np.tile(np.arange(num_frames), (num_videos, 1))
    for target in targets:
        merged = _best_pairs(tokens, tokens.shape[1] - target)
        tokens, sizes, new_index = _merge_pairs(tokens, sizes, merged)
        frame_to_token = np.take_along_axis(new_index, frame_to_token, axis=1)
    return MergedClips(tokens, sizes, frame_to_token)


def _best_pairs(
    tokens: Float[np.ndarray, "videos tokens dim"], num_merges: int
) -> Bool[np.ndarray, "videos pairs"]:
    """Whether each neighbouring pair is among the `num_merges` with the largest dot product."""
    paired = tokens[:, : tokens.shape[1] // 2 * 2].astype(np.float64)
    scores = np.einsum("vpd,vpd->vp", paired[:, 0::2], paired[:, 1::2])
    order = np.argsort(-scores, axis=1, kind="stable")
    merged = np.zeros(scores.shape, bool)
    np.put_along_axis(merged, order[:, :num_merges], True, axis=1)
    return merged


def _merge_pairs(
    tokens: Float[np.ndarray, "videos tokens dim"],
    sizes: Float[np.ndarray, "videos tokens"],
    merged: Bool[np.ndarray, "videos pairs"],
) -> tuple[
    Float[np.ndarray, "videos kept dim"],
    Float[np.ndarray, "videos kept"],
    Int[np.ndarray, "videos tokens"],
]:
    """Tokens and sizes after a round, in order, and the new index of every old token."""
    videos, pairs = np.nonzero(merged)
    left, right = 2 * pairs, 2 * pairs + 1
    kept = np.ones(sizes.shape, bool)
    kept[videos, right] = False
    # A merged right token inherits the index of the kept token before it: its partner.
    new_index = np.cumsum(kept, axis=1) - 1
    means = _weighted_mean(
        tokens[videos, left],
        tokens[videos, right],
        sizes[videos, left, None],
        sizes[videos, right, None],
    )
    joint_sizes = sizes[videos, left] + sizes[videos, right]
    tokens, sizes = _keep(tokens, kept), _keep(sizes, kept)
    places = new_index[videos, left]
    tokens[videos, places], sizes[videos, places] = means, joint_sizes
    return tokens, sizes, new_index


def _keep(
    values: Shaped[np.ndarray, "videos tokens *dim"], kept: Bool[np.ndarray, "videos tokens"]
) -> Shaped[np.ndarray, "videos kept *dim"]:
    """A copy of what is kept, in order; every video keeps as many."""
    rows = np.flatnonzero(kept)
    flat = values.reshape(-1, *values.shape[2:])
    taken: np.ndarray = flat.take(rows, axis=0).reshape(len(values), -1, *values.shape[2:])
    return taken


def _weighted_mean(
    left: Float[np.ndarray, "*pairs dim"],
    right: Float[np.ndarray, "*pairs dim"],
    left_size: Float[np.ndarray, "*pairs 1"],
    right_size: Float[np.ndarray, "*pairs 1"],
) -> Float[np.ndarray, "*pairs dim"]:
    """Size-weighted mean; of equal tokens exactly that token.

    Rounding must not part repeated frames, or it would decide the ties of the next round.
    """
    mean: np.ndarray = right - left
    mean *= right_size / (left_size + right_size)
    mean += left
    return mean


def _cosines(
    unit_left: Float[np.ndarray, "videos left dim"],
    unit_right: Float[np.ndarray, "videos right dim"],
) -> Float[np.ndarray, "videos left right"]:
    """Cosine similarities of rows of norm 1 in float64; a zero row has cosine 0 to all."""
    products = unit_left @ unit_right.transpose(0, 2, 1)
    rounded: np.ndarray = np.round(products, _COSINE_DECIMALS)
    return rounded


def _unit(rows: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch dim"]:
    exact = rows.astype(np.float64, copy=False)
    norms = np.sqrt(np.add.reduce(exact * exact, axis=-1, keepdims=True))
    return exact / np.where(norms > 0, norms, 1)


def spanning_tree_weights(
    clips: Float[np.ndarray, "videos clips dim"],
) -> Float[np.ndarray, "videos clips_less_one"]:
    """Edge weights of each video's maximum spanning tree over cosines, in the order of Prim.

    Prim's algorithm leaves a single-linkage component only when it is exhausted, so the
    components at any threshold are runs of this order, parted where a weight does not exceed
    it. These weights give the connectivity for every tau.
    """
    unit = _unit(clips)
    similarity = _cosines(unit, unit)
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


def segment_plans(
    clips: Float[np.ndarray, "videos clips dim"],
    sizes: Float[np.ndarray, "videos clips"],
    levels: Sequence[int],
) -> Int[np.ndarray, "videos levels clips"]:
    """Segment of every clip at every level.

    Each level goes on from the one before by greedy one-to-one matching of even with odd tokens
    by cosine. A level below half of the one before is reached over intermediate rounds.

    Args:
        clips: Normalised input clips.
        sizes: Frames in each clip, the weights of the means.
        levels: Numbers of segments, falling from the number of clips.
    """
    num_videos, num_clips, _ = clips.shape
    segment = np.tile(np.arange(num_clips), (num_videos, 1))
    plans = np.empty((num_videos, len(levels), num_clips), np.int64)
    exact, weights = clips.astype(np.float64), sizes.astype(np.float64)
    # A mean's products are means of products: the tokens themselves are not needed any more.
    products = exact @ exact.transpose(0, 2, 1)
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
    """One round: merge the best even-odd pairs into the even token's place.

    `products` are the inner products of all tokens; merging mixes their rows, then their columns.
    A mean of opposite tokens, next to zero, would have lost its direction to rounding; features
    of neighbouring clips are never opposite.
    """
    partner = _greedy_matching(_even_odd_cosines(products), num_merges)
    videos = np.arange(len(weights))[:, None]
    evens, odds = 2 * partner[0], 2 * partner[1] + 1
    kept = np.ones(weights.shape, bool)
    kept[videos, odds] = False
    new_index = np.cumsum(kept, axis=1) - 1
    new_index[videos, odds] = new_index[videos, evens]
    even_weight, odd_weight = weights[videos, evens], weights[videos, odds]
    for _ in range(2):
        left, right = products[videos, evens], products[videos, odds]
        mixed = _weighted_mean(left, right, even_weight[:, :, None], odd_weight[:, :, None])
        products = _keep(products, kept)
        products[videos, new_index[videos, evens]] = mixed
        products = products.transpose(0, 2, 1)
    weights = _keep(weights, kept)
    weights[videos, new_index[videos, evens]] = even_weight + odd_weight
    return products, weights, new_index


def _even_odd_cosines(
    products: Float[np.ndarray, "videos tokens tokens"],
) -> Float[np.ndarray, "videos evens odds"]:
    norms = np.sqrt(np.maximum(np.diagonal(products, axis1=1, axis2=2), 0))
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    cosines = products[:, 0::2, 1::2] * inverse[:, 0::2, None] * inverse[:, None, 1::2]
    rounded: np.ndarray = np.round(cosines, _COSINE_DECIMALS)
    return rounded


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
