"""InfoNCE, triplets and CBVA against loops over captions, videos, frames and segments."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from prvr_model.losses.cbva import cbva
from prvr_model.losses.infonce import infonce
from prvr_model.losses.triplet import NegativeDraws, triplet

OWNERS = torch.tensor([0, 0, 1, 2, 2, 2, 3])


def slow_infonce(scores: Tensor, owners: Tensor) -> Tensor:
    captions, videos = scores.shape
    by_caption = [
        torch.log(sum(torch.exp(scores[i, j]) for j in range(videos))) - scores[i, owners[i]]
        for i in range(captions)
    ]
    by_video = []
    for j in range(videos):
        own = [i for i in range(captions) if owners[i] == j]
        everything = sum(torch.exp(scores[i, j]) for i in range(captions))
        by_video.append(
            torch.log(everything) - torch.log(sum(torch.exp(scores[i, j]) for i in own))
        )
    return sum(by_caption) / captions + sum(by_video) / videos


def test_infonce_equals_the_loop_with_its_gradient() -> None:
    scores = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    found, wanted = infonce(scores, OWNERS), slow_infonce(scores, OWNERS)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_infonce_of_large_scores_is_finite() -> None:
    scores = (torch.randn(7, 4) * 1e4).requires_grad_()
    loss = infonce(scores, OWNERS)
    loss.backward()
    assert scores.grad is not None
    assert loss.isfinite()
    assert scores.grad.isfinite().all()


def test_infonce_of_one_video_is_zero() -> None:
    assert infonce(torch.randn(3, 1), torch.zeros(3, dtype=torch.long)) == 0
    assert infonce(torch.randn(1, 1), torch.zeros(1, dtype=torch.long)) == 0


def constant_draws(captions: int, videos: int, value: float) -> NegativeDraws:
    return NegativeDraws(torch.full((captions,), value), torch.full((videos,), value))


def chosen_negatives(
    scores: Tensor, owners: Tensor, value: float, hard_pool: int | None
) -> tuple[list[int], list[int]]:
    """Each caption's negative video and each video's negative caption, read off the gradient.

    With a huge margin every hinge is open: a text-to-video negative has gradient 1 / captions,
    a video-to-text one 1 / videos, and positives have negative gradients.
    """
    captions, videos = scores.shape
    leaf = scores.clone().requires_grad_()
    draws = constant_draws(captions, videos, value)
    triplet(leaf, owners, 1e3, draws, hard_pool).backward()
    assert leaf.grad is not None
    gradient = leaf.grad.masked_fill(owners[:, None] == torch.arange(videos), 0)
    both = 1 / captions + 1 / videos
    by_text, by_video = {}, {}
    for i in range(captions):
        for j in range(videos):
            if math.isclose(gradient[i, j], 1 / captions) or math.isclose(gradient[i, j], both):
                by_text[i] = j
            if math.isclose(gradient[i, j], 1 / videos) or math.isclose(gradient[i, j], both):
                by_video[j] = i
    return [by_text[i] for i in range(captions)], [by_video[j] for j in range(videos)]


def test_random_negatives_are_uniform_over_all_others() -> None:
    scores = torch.randn(7, 4, dtype=torch.float64)
    # A caption has 3 other videos; the videos have 5, 6, 4 and 6 other captions.
    grid = 60
    text, video = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for k in range(grid):
        videos, captions = chosen_negatives(scores, OWNERS, (k + 0.5) / grid, None)
        text.update(enumerate(videos))
        video.update(enumerate(captions))
    wanted_text = {(i, j): grid // 3 for i in range(7) for j in range(4) if OWNERS[i] != j}
    others = {j: [i for i in range(7) if OWNERS[i] != j] for j in range(4)}
    wanted_video = {(j, i): grid // len(others[j]) for j in others for i in others[j]}
    assert text == wanted_text
    assert video == wanted_video


@pytest.mark.parametrize("pool", [1, 2, 3, 20])
def test_hard_negatives_are_uniform_over_the_hardest(pool: int) -> None:
    scores = torch.randn(7, 4, dtype=torch.float64)
    size, grid = min(pool, 3), 12
    text = Counter[tuple[int, int]]()
    for k in range(grid):
        videos, captions = chosen_negatives(scores, OWNERS, (k + 0.5) / grid, pool)
        text.update(enumerate(videos))
        for j, caption in enumerate(captions):
            assert caption == max(
                (i for i in range(7) if OWNERS[i] != j), key=lambda i: scores[i, j]
            )
    for i in range(7):
        ranked = sorted((j for j in range(4) if OWNERS[i] != j), key=lambda j: -scores[i, j])
        assert {j: text[i, j] for j in ranked[:size]} == dict.fromkeys(ranked[:size], grid // size)


@pytest.mark.parametrize("value", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("hard_pool", [None, 2])
def test_extreme_draws_stay_inside(value: float, hard_pool: int | None) -> None:
    videos, captions = chosen_negatives(torch.randn(7, 4).double(), OWNERS, value, hard_pool)
    assert all(video != OWNERS[i] for i, video in enumerate(videos))
    assert all(OWNERS[caption] != j for j, caption in enumerate(captions))


@pytest.mark.parametrize("margin", [0.2, 2.0])
def test_triplet_value_equals_the_loop(margin: float) -> None:
    scores = torch.rand(7, 4, dtype=torch.float64)
    videos, captions = chosen_negatives(scores, OWNERS, 0.4, None)
    text = [max(0.0, margin + scores[i, videos[i]] - scores[i, OWNERS[i]]) for i in range(7)]
    video = [
        max(0.0, margin + scores[captions[j], j] - scores[j == OWNERS, j].mean()) for j in range(4)
    ]
    found = triplet(scores, OWNERS, margin, constant_draws(7, 4, 0.4), None)
    assert float(found) == pytest.approx(sum(text) / 7 + sum(video) / 4)


@pytest.mark.parametrize("hard_pool", [None, 20])
def test_triplet_of_one_video_is_zero(hard_pool: int | None) -> None:
    scores = torch.randn(3, 1, requires_grad=True)
    loss = triplet(
        scores, torch.zeros(3, dtype=torch.long), 0.2, constant_draws(3, 1, 0.3), hard_pool
    )
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


# Caption 0 is right for video 3 too, caption 3 for all; of video 3's others caption 6 is its own.
IGNORED = torch.zeros(7, 4, dtype=torch.bool)
IGNORED[0, 3] = IGNORED[3, 0] = IGNORED[3, 1] = IGNORED[3, 3] = IGNORED[6, 1] = True


def slow_infonce_without(scores: Tensor, ignored: Tensor) -> Tensor:
    by_caption = [
        torch.log(sum(torch.exp(scores[i, j]) for j in range(4) if not ignored[i, j]))
        - scores[i, OWNERS[i]]
        for i in range(7)
    ]
    by_video = [
        torch.log(sum(torch.exp(scores[i, j]) for i in range(7) if not ignored[i, j]))
        - torch.log(sum(torch.exp(scores[i, j]) for i in range(7) if OWNERS[i] == j))
        for j in range(4)
    ]
    return sum(by_caption) / 7 + sum(by_video) / 4


def slow_triplet_without(
    scores: Tensor, ignored: Tensor, draw: float, hard_pool: int | None
) -> Tensor:
    """The negative at place floor(draw * n) of those in order, or of the hardest."""
    total, known = torch.zeros((), dtype=scores.dtype), scores.detach()
    for i in range(7):
        others = [j for j in range(4) if OWNERS[i] != j and not ignored[i, j]]
        if hard_pool is not None:
            others = sorted(others, key=lambda j: -known[i, j])[:hard_pool]
        if others:
            hinge = 0.2 + scores[i, others[int(draw * len(others))]] - scores[i, OWNERS[i]]
            total = total + hinge.relu() / 7
    for j in range(4):
        others = [i for i in range(7) if OWNERS[i] != j and not ignored[i, j]]
        if others:
            hardest = max(others, key=lambda i: known[i, j])
            chosen = others[int(draw * len(others))] if hard_pool is None else hardest
            hinge = 0.2 + scores[chosen, j] - scores[j == OWNERS, j].mean()
            total = total + hinge.relu() / 4
    return total


@pytest.mark.parametrize("column_of_own_alone", [False, True])
def test_relevant_videos_are_no_negatives(column_of_own_alone: bool) -> None:
    ignored = IGNORED.clone()
    # A video all of whose other captions are right for it has no negative either.
    ignored[:, 2] |= column_of_own_alone & (OWNERS != 2)
    scores = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    pairs = [(infonce(scores, OWNERS, ignored), slow_infonce_without(scores, ignored))]
    for draw in (0.0, 0.45, 1 - 2**-24):
        for hard_pool in (None, 1, 2, 20):
            draws = constant_draws(7, 4, draw)
            found = triplet(scores, OWNERS, 0.2, draws, hard_pool, ignored)
            pairs.append((found, slow_triplet_without(scores, ignored, draw, hard_pool)))
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted)
        gradients = [torch.autograd.grad(loss, scores)[0] for loss in (found, wanted)]
        torch.testing.assert_close(*gradients)
        assert found.requires_grad
        # Nothing pulls or pushes an ignored pair.
        assert (gradients[0][ignored] == 0).all()
    nothing = torch.zeros_like(ignored)
    assert infonce(scores, OWNERS, nothing) == infonce(scores, OWNERS)


def slow_cbva(
    frames: Tensor, clips: Tensor, sizes: Tensor, segment: Tensor, frame_to_clip: Tensor
) -> Tensor:
    losses = []
    for x in range(len(frames)):
        num_segments = int(segment[x].max()) + 1
        means = torch.stack(
            [
                sum(sizes[x, c] * clips[x, c] for c in members) / sum(sizes[x, c] for c in members)
                for members in (
                    [c for c in range(clips.shape[1]) if segment[x, c] == s]
                    for s in range(num_segments)
                )
            ]
        )
        owner = [int(segment[x, frame_to_clip[x, f]]) for f in range(frames.shape[1])]
        products = frames[x] @ means.detach().T
        losses.append(
            slow_contrast(products, [[s == o for s in range(num_segments)] for o in owner])
        )
        products = means @ frames[x].detach().T
        losses.append(
            slow_contrast(products, [[o == s for o in owner] for s in range(num_segments)])
        )
    return sum(losses) / len(frames)


def slow_contrast(products: Tensor, own: list[list[bool]]) -> Tensor:
    rows = []
    for row, mine in zip(products, own, strict=True):
        values = torch.exp(row - row.max().detach())
        inside = [value for value, here in zip(values, mine, strict=True) if here]
        outside = [value for value, here in zip(values, mine, strict=True) if not here]
        positive = sum(inside) / len(inside)
        negative = sum(outside) / len(outside) if outside else 0.0
        rows.append(-torch.log(positive / (positive + negative)))
    return sum(rows) / len(rows)


def cbva_inputs(num_segments: list[int], num_clips: int = 6) -> dict[str, Tensor]:
    videos, generator = len(num_segments), torch.Generator().manual_seed(1)
    sizes = torch.randint(1, 4, (videos, num_clips), generator=generator)
    num_frames = int(sizes.sum(dim=1).max())
    frame_to_clip = torch.full((videos, num_frames), num_clips - 1)
    for x in range(videos):
        order = torch.repeat_interleave(torch.arange(num_clips), sizes[x])
        frame_to_clip[x, : len(order)] = order
    segment = torch.stack([torch.arange(num_clips) * n // num_clips for n in num_segments])
    shape = (videos, num_frames, 5), (videos, num_clips, 5)
    frames, clips = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shape)
    return {
        "frames": frames.requires_grad_(),
        "clips": clips.requires_grad_(),
        "clip_sizes": sizes.double(),
        "segment_of_clip": segment,
        "frame_to_clip": frame_to_clip,
    }


def test_cbva_equals_the_loop_with_its_gradients() -> None:
    inputs = cbva_inputs([6, 4, 3, 2, 1])
    # A segment need not be a run of clips: matching joins any even with any odd one.
    inputs["segment_of_clip"][1] = torch.tensor([0, 1, 0, 2, 3, 1])
    found, wanted = cbva(**inputs), slow_cbva(*inputs.values())
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    leaves = [inputs["frames"], inputs["clips"]]
    pairs = zip(*(torch.autograd.grad(loss, leaves) for loss in (found, wanted)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_segments", [[1], [6], [1, 1], [6, 1]])
def test_cbva_of_one_segment_is_zero_and_never_nan(num_segments: list[int]) -> None:
    inputs = cbva_inputs(num_segments)
    loss = cbva(**inputs)
    loss.backward()
    assert inputs["clips"].grad is not None
    for x, number in enumerate(num_segments):
        assert (inputs["clips"].grad[x] == 0).all() == (number == 1)
    assert loss.isfinite()
    if num_segments == [1]:
        assert loss == 0


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_cbva_of_extreme_products_is_finite(scale: float) -> None:
    inputs = cbva_inputs([6, 3])
    leaves = [
        (inputs[name].detach().float() * scale).requires_grad_() for name in ("frames", "clips")
    ]
    sizes = inputs["clip_sizes"].float()
    loss = cbva(*leaves, sizes, inputs["segment_of_clip"], inputs["frame_to_clip"])
    loss.backward()
    assert loss.isfinite()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)
