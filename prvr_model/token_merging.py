"""Merging of neighbouring frames into clips and of similar clips into segments.

All of it depends on frozen features only, is done on the host once per store, and is vectorised
over videos. Ties are broken the same way everywhere: the earlier pair first.

Source: METHOD, order-preserving token merging (OP-ToMe) and CBVA.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

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
    num_videos, num_tokens, dim = tokens.shape
    tokens, sizes = tokens.copy(), sizes.copy()
    left, right = slice(0, num_tokens // 2 * 2, 2), slice(1, num_tokens // 2 * 2, 2)
    left_size, right_size = sizes[:, left, None], sizes[:, right, None]
    mean = _weighted_mean(tokens[:, left], tokens[:, right], left_size, right_size)
    tokens[:, left] = np.where(merged[:, :, None], mean, tokens[:, left])
    sizes[:, left] += np.where(merged, sizes[:, right], 0)
    kept = np.ones((num_videos, num_tokens), bool)
    kept[:, right] = ~merged
    # A merged right token inherits the index of the kept token before it: its partner.
    new_index = np.cumsum(kept, axis=1) - 1
    return tokens[kept].reshape(num_videos, -1, dim), sizes[kept].reshape(num_videos, -1), new_index


def _weighted_mean(
    left: Float[np.ndarray, "videos pairs dim"],
    right: Float[np.ndarray, "videos pairs dim"],
    left_size: Float[np.ndarray, "videos pairs 1"],
    right_size: Float[np.ndarray, "videos pairs 1"],
) -> Float[np.ndarray, "videos pairs dim"]:
    """Size-weighted mean; of equal tokens exactly that token.

    Rounding must not part repeated frames, or it would decide the ties of the next round.
    """
    mean: np.ndarray = left + (right - left) * (right_size / (left_size + right_size))
    return mean


def cosines(
    left: Float[np.ndarray, "videos left dim"], right: Float[np.ndarray, "videos right dim"]
) -> Float[np.ndarray, "videos left right"]:
    """Cosine similarities in float64; a zero row has cosine 0 to all."""
    products = _unit(left) @ _unit(right).transpose(0, 2, 1)
    rounded: np.ndarray = np.round(products, _COSINE_DECIMALS)
    return rounded


def _unit(rows: Float[np.ndarray, "videos rows dim"]) -> Float[np.ndarray, "videos rows dim"]:
    exact = rows.astype(np.float64)
    norms = np.linalg.norm(exact, axis=-1, keepdims=True)
    return exact / np.where(norms > 0, norms, 1)


def spanning_tree_weights(
    clips: Float[np.ndarray, "videos clips dim"],
) -> Float[np.ndarray, "videos clips_less_one"]:
    """Edge weights of each video's maximum spanning tree over cosines, in the order of Prim.

    Prim's algorithm leaves a single-linkage component only when it is exhausted, so the
    components at any threshold are runs of this order, parted where a weight does not exceed
    it. These weights give the connectivity for every tau.
    """
    similarity = cosines(clips, clips)
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
    tokens, weights = clips.astype(np.float64), sizes.astype(np.float64)
    for level, target in enumerate(levels):
        while tokens.shape[1] > target:
            num_merges = min(tokens.shape[1] - target, tokens.shape[1] // 2)
            tokens, weights, new_index = _match_and_merge(tokens, weights, num_merges)
            segment = np.take_along_axis(new_index, segment, axis=1)
        plans[:, level] = segment
    return plans


def _match_and_merge(
    tokens: Float[np.ndarray, "videos tokens dim"],
    weights: Float[np.ndarray, "videos tokens"],
    num_merges: int,
) -> tuple[
    Float[np.ndarray, "videos kept dim"],
    Float[np.ndarray, "videos kept"],
    Int[np.ndarray, "videos tokens"],
]:
    """One round: merge the best even-odd pairs into the even token's place."""
    num_videos, num_tokens, dim = tokens.shape
    partner = _greedy_matching(cosines(tokens[:, 0::2], tokens[:, 1::2]), num_merges)
    videos = np.arange(num_videos)[:, None]
    evens, odds = 2 * partner[0], 2 * partner[1] + 1
    kept = np.ones((num_videos, num_tokens), bool)
    kept[videos, odds] = False
    new_index = np.cumsum(kept, axis=1) - 1
    new_index[videos, odds] = new_index[videos, evens]
    tokens, weights = tokens.copy(), weights.copy()
    even_weight, odd_weight = weights[videos, evens, None], weights[videos, odds, None]
    tokens[videos, evens] = _weighted_mean(
        tokens[videos, evens], tokens[videos, odds], even_weight, odd_weight
    )
    weights[videos, evens] += weights[videos, odds]
    return (
        tokens[kept].reshape(num_videos, -1, dim),
        weights[kept].reshape(num_videos, -1),
        new_index,
    )


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
