"""OP-ToMe, connectivity and segment plans against loops in exact fractions."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prvr_model.inputs.buffers import ReusedMemory
from prvr_model.inputs.resampling import normalise_rows, resample
from prvr_model.inputs.token_merging import (
    choose_levels,
    connectivity,
    merge_neighbours,
)
from prvr_model.settings import PUBLISHED_LEVELS, ratio_targets
from tests.prvr_model.clip_segments import segment_plans, spanning_tree_weights


@dataclass(frozen=True)
class Token:
    """A token in exact arithmetic and what it was merged from."""

    vector: tuple[Fraction, ...]
    size: Fraction
    members: tuple[int, ...]

    @classmethod
    def rows(cls, matrix: np.ndarray, sizes: Sequence[float]) -> list[Self]:
        return [
            cls(tuple(Fraction(float(x)) for x in row), Fraction(float(size)), (index,))
            for index, (row, size) in enumerate(zip(matrix, sizes, strict=True))
        ]

    def merged(self, other: Self) -> "Token":
        size = self.size + other.size
        vector = tuple(
            (a * self.size + b * other.size) / size
            for a, b in zip(self.vector, other.vector, strict=True)
        )
        return Token(vector, size, tuple(sorted(self.members + other.members)))

    def dot(self, other: Self) -> Fraction:
        return sum((a * b for a, b in zip(self.vector, other.vector, strict=True)), Fraction(0))

    def cosine_key(self, other: Self) -> Fraction:
        """The cosine's square with its sign: the same order, without a root."""
        dot, norms = self.dot(other), self.dot(self) * other.dot(other)
        return dot * abs(dot) / norms if norms else Fraction(0)


def slow_op_tome(frames: np.ndarray, targets: Sequence[int]) -> list[Token]:
    tokens = Token.rows(frames, [1] * len(frames))
    for target in targets:
        pairs = [(p, tokens[2 * p].dot(tokens[2 * p + 1])) for p in range(len(tokens) // 2)]
        best = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
        chosen = {pair for pair, _ in best[: len(tokens) - target]}
        kept = []
        for index, token in enumerate(tokens):
            if index // 2 not in chosen:
                kept.append(token)
            elif index % 2 == 0:
                kept.append(token.merged(tokens[index + 1]))
        tokens = kept
    return tokens


def slow_plan(clips: np.ndarray, sizes: np.ndarray, levels: Sequence[int]) -> list[list[Token]]:
    tokens = Token.rows(clips, [float(size) for size in sizes])
    plans = []
    for target in levels:
        while len(tokens) > target:
            tokens = slow_matching_round(tokens, min(len(tokens) - target, len(tokens) // 2))
        plans.append(tokens)
    return plans


def slow_matching_round(tokens: list[Token], num_merges: int) -> list[Token]:
    evens, odds = range(0, len(tokens), 2), range(1, len(tokens), 2)
    pairs = sorted(
        ((a, b) for a in evens for b in odds),
        key=lambda pair: (-tokens[pair[0]].cosine_key(tokens[pair[1]]), pair),
    )
    partner: dict[int, int] = {}
    for a, b in pairs:
        if len(partner) < num_merges and a not in partner and b not in partner.values():
            partner[a] = b
    gone = set(partner.values())
    return [
        token.merged(tokens[partner[index]]) if index in partner else token
        for index, token in enumerate(tokens)
        if index not in gone
    ]


def token_map(tokens: list[Token]) -> list[int]:
    owner = {member: index for index, token in enumerate(tokens) for member in token.members}
    return [owner[member] for member in sorted(owner)]


def check_op_tome(frames: np.ndarray, targets: Sequence[int]) -> None:
    found = merge_neighbours(frames, targets)
    for video, rows in enumerate(frames):
        wanted = slow_op_tome(rows, targets)
        assert found.frame_to_clip[video].tolist() == token_map(wanted)
        assert found.sizes[video].tolist() == [float(token.size) for token in wanted]
        vectors = [[float(x) for x in token.vector] for token in wanted]
        np.testing.assert_allclose(found.features[video], vectors, rtol=1e-5, atol=1e-6)


def random_frames(videos: int, num_frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((videos, num_frames, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "targets",
    [(80, 52, 32), (127, 126), (64, 32, 16, 8), (100, 50, 32), ratio_targets(128, 24, 0.5)],
)
def test_op_tome_equals_the_loop(targets: tuple[int, ...]) -> None:
    check_op_tome(random_frames(2, 128), targets)


@pytest.mark.parametrize("targets", [(9, 6), (15, 14), (9, 5, 3, 2, 1)])
def test_an_odd_last_token_stays_and_pairs_anew(targets: tuple[int, ...]) -> None:
    check_op_tome(random_frames(3, 17), targets)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 11, 40, 100])
def test_repeated_frames_are_ties_and_the_earlier_pair_goes_first(length: int) -> None:
    frames = resample(list(random_frames(2, length, seed=length)), 128)
    check_op_tome(frames, (80, 52, 32))
    check_op_tome(frames, (80, 50, 32))


def test_a_constant_video_ties_at_any_dimension() -> None:
    frames = np.repeat(random_frames(1, 1), 128, axis=1).repeat(300, axis=2)
    wanted = token_map(slow_op_tome(np.ones((128, 1)), (80, 52, 32)))
    assert merge_neighbours(frames, (80, 52, 32)).frame_to_clip[0].tolist() == wanted


def test_three_published_rounds_bound_a_clip_to_eight_frames() -> None:
    sizes = merge_neighbours(random_frames(20, 128), (80, 52, 32)).sizes
    assert sizes.max() <= 8
    assert (sizes.sum(axis=1) == 128).all()


def test_no_round_leaves_the_frames_alone() -> None:
    frames = random_frames(2, 6)
    merged = merge_neighbours(frames, ())
    assert (merged.features == frames).all()
    assert merged.frame_to_clip.tolist() == [list(range(6))] * 2


def test_reused_memory_gives_the_same_clips() -> None:
    memory = ReusedMemory()
    for seed, videos in enumerate((3, 1, 2)):
        frames = random_frames(videos, 128, seed)
        found = merge_neighbours(frames, (80, 52, 32), memory)
        wanted = merge_neighbours(frames, (80, 52, 32))
        assert (found.features == wanted.features).all()
        assert (found.sizes == wanted.sizes).all()
        assert (found.frame_to_clip == wanted.frame_to_clip).all()


def slow_connectivity(clips: np.ndarray, tau: float) -> Fraction:
    """Share of ordered pairs that a walk along edges above tau connects."""
    unit = clips.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    edges = unit @ unit.T > tau
    count, reached_pairs = len(clips), 0
    for start in range(count):
        reached, queue = {start}, [start]
        while queue:
            here = queue.pop()
            new = [k for k in range(count) if edges[here, k] and k not in reached]
            reached.update(new)
            queue.extend(new)
        reached_pairs += len(reached) - 1
    return Fraction(reached_pairs, count * (count - 1))


@given(st.integers(2, 12), st.integers(0, 10_000), st.floats(-1, 1), st.booleans())
def test_connectivity_of_the_spanning_tree_is_that_of_the_closure(
    num_clips: int, seed: int, tau: float, repeats: bool
) -> None:
    rng = np.random.default_rng(seed)
    clips = rng.standard_normal((1, num_clips, 3))
    if repeats:
        clips = clips[:, rng.integers(num_clips, size=num_clips)]
    unit = clips[0] / np.linalg.norm(clips[0], axis=1, keepdims=True)
    assume(np.abs(unit @ unit.T - tau).min() > 1e-9)
    tree = spanning_tree_weights(clips)
    wanted = slow_connectivity(clips[0], tau)
    assert connectivity(tree, tau)[0] == float(wanted)
    for num_levels in (1, 2, 5, 7):
        # The level in exact fractions: no float decides at a boundary.
        level = min(num_levels - 1, int(num_levels * wanted))
        assert choose_levels(tree, tau, num_levels)[0] == level


@pytest.mark.parametrize(
    ("block", "segments"),
    [(32, 5), (29, 5), (28, 8), (25, 8), (24, 12), (21, 12), (15, 20), (14, 32)],
)
def test_published_thresholds(block: int, segments: int) -> None:
    # One component of `block` clips among 32: omega = block (block - 1) / 992.
    clips = np.eye(32)[None]
    clips[0, :block] = clips[0, 0]
    omega = connectivity(spanning_tree_weights(clips), 0.8)[0]
    assert omega == block * (block - 1) / 992
    by_rule = 5 if omega >= 0.8 else 8 if omega >= 0.6 else 12 if omega >= 0.4 else 20
    by_rule = by_rule if omega >= 0.2 else 32
    found = PUBLISHED_LEVELS[choose_levels(spanning_tree_weights(clips), 0.8, 5)[0]]
    assert found == by_rule == segments


def test_a_cosine_of_tau_itself_does_not_connect() -> None:
    clips = np.ones((1, 4, 3))
    tree = spanning_tree_weights(clips)
    assert connectivity(tree, 1.0)[0] == 0
    assert connectivity(tree, 1 - 1e-9)[0] == 1


def test_a_level_boundary_is_exact() -> None:
    # Components of 6, 3, 3, 3 and 1 clips: 30 + 6 + 6 + 6 = 48 of 240 pairs, one fifth.
    clips = np.eye(16)[None]
    for first, last in ((0, 6), (6, 9), (9, 12), (12, 15)):
        clips[0, first:last] = clips[0, first]
    tree = spanning_tree_weights(clips)
    assert connectivity(tree, 0.5)[0] == 0.2
    assert choose_levels(tree, 0.5, 5)[0] == 1


def check_plans(clips: np.ndarray, sizes: np.ndarray, levels: Sequence[int]) -> None:
    found = segment_plans(clips, sizes, levels)
    for video in range(len(clips)):
        for level, tokens in enumerate(slow_plan(clips[video], sizes[video], levels)):
            assert len(tokens) == levels[level]
            assert found[video, level].tolist() == token_map(tokens), (video, level)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([(12, 7, 4), (9, 5, 3, 2), (11, 2), (13, 1), (8,)]))
def test_segment_plans_equal_the_loop(seed: int, levels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    clips = normalise_rows(rng.standard_normal((2, levels[0], 3)).astype(np.float32))
    check_plans(clips, rng.integers(1, 9, (2, levels[0])).astype(np.float32), levels)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_equal_clips_match_the_lower_indices_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    few = normalise_rows(rng.standard_normal((2, 3, 3)).astype(np.float32))
    clips = few[:, rng.integers(3, size=12)]
    check_plans(clips, rng.integers(1, 9, (2, 12)).astype(np.float32), (12, 7, 3))


def test_published_levels_equal_the_loop() -> None:
    rng = np.random.default_rng(3)
    clips = normalise_rows(rng.standard_normal((1, 32, 2)).astype(np.float32))
    check_plans(clips, np.full((1, 32), 4, np.float32), PUBLISHED_LEVELS)
