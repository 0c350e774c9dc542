"""Scores of captions against videos: the best matching row of a video counts.

Source: the MSC paper, scores.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# Smallest norm that a vector is divided by; zero vectors score 0.
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class Scores:
    """Caption-video scores of one branch.

    Args:
        cosine: Largest cosine over the video's rows (S).
        product: Largest raw dot product over the video's rows (U).
    """

    cosine: Float[Tensor, "captions videos"]
    product: Float[Tensor, "captions videos"]


def unit_rows(rows: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
    """Rows of norm 1; zero rows stay zero."""
    return torch.nn.functional.normalize(rows, dim=-1, eps=_SMALLEST_NORM)


def score_both(
    queries: Float[Tensor, "captions hidden"], videos: Float[Tensor, "videos rows hidden"]
) -> Scores:
    """Cosine and raw scores from one matrix product.

    Of equally good rows the first gets the gradient.
    """
    cosine, product = _BestRows.apply(  # type: ignore[no-untyped-call]
        queries, videos, _inverse_norms(queries), _inverse_norms(videos)
    )
    return Scores(cosine=cosine, product=product)


class _BestRows(torch.autograd.Function):
    """Both scores; the gradient touches only the two best rows of each pair."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        queries: Float[Tensor, "captions hidden"],
        videos: Float[Tensor, "videos rows hidden"],
        inverse_queries: Float[Tensor, "captions"],
        inverse_videos: Float[Tensor, "videos rows"],
    ) -> tuple[Float[Tensor, "captions videos"], Float[Tensor, "captions videos"]]:
        products = (queries @ videos.flatten(0, 1).T).unflatten(1, videos.shape[:2])
        product, product_row = products.max(dim=2)
        best, cosine_row = products.mul_(inverse_videos).max(dim=2)
        ctx.save_for_backward(
            queries, videos, inverse_queries, inverse_videos, product_row, cosine_row, best
        )
        return best * inverse_queries[:, None], product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        queries, videos, inverse_queries, inverse_videos, product_row, cosine_row, best = (
            ctx.saved_tensors
        )
        by_cosine, by_product = gradients
        num_videos, num_rows, _ = videos.shape
        flat = videos.flatten(0, 1)
        starts = torch.arange(num_videos, device=videos.device) * num_rows
        column = starts + cosine_row
        norms = inverse_videos.flatten()[column]
        by_best = by_cosine * inverse_queries[:, None]
        by_pairs = queries.new_zeros(len(queries), len(flat))
        by_pairs.scatter_(1, starts + product_row, by_product)
        by_pairs.scatter_add_(1, column, by_best * norms)
        # The best cosine is a product times the row's inverse norm, so its derivative by that norm
        # is the product: `best / norms`. For a zero row, whose norm is the floor, it is 0.
        by_norms = torch.zeros_like(inverse_videos).flatten()
        by_norms.index_add_(0, column.flatten(), (by_best * best / norms).flatten())
        return (
            by_pairs @ flat,
            (by_pairs.T @ queries).view_as(videos),
            (by_cosine * best).sum(dim=1),
            by_norms.view_as(inverse_videos),
        )


def _inverse_norms(rows: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch"]:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms.clamp_min(_SMALLEST_NORM).reciprocal()
