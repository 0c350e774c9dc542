"""Scores of captions against videos: the best matching row of a video counts.

Source: the MSC paper, scores.
"""

from dataclasses import dataclass

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
    """Cosine and raw scores from one matrix product."""
    products = (queries @ videos.flatten(0, 1).T).unflatten(1, videos.shape[:2])
    inverse_norms = _inverse_norms(videos)
    cosine = (products * inverse_norms).amax(dim=-1) * _inverse_norms(queries)[:, None]
    return Scores(cosine=cosine, product=products.amax(dim=-1))


def _inverse_norms(rows: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch"]:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms.clamp_min(_SMALLEST_NORM).reciprocal()
