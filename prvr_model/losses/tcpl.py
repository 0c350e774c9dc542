"""Text correlation preservation (TCPL): queries keep the foundation model's relations.

Source: METHOD, losses, TCPL. The student is the learned query vector, the teacher the
foundation model's sentence vector; the teacher gets no gradient.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

# Floor of squared distances before the root; published value.
_SMALLEST_SQUARE = 1e-12
# Elements of one block of angles: a few such arrays fit in a processor's cache.
_BLOCK_ELEMENTS = 1 << 20


def distance_loss(
    student: Float[Tensor, "captions hidden"], teacher: Float[Tensor, "captions text"]
) -> Float[Tensor, ""]:
    """Smooth-L1 between pairwise distances, each divided by the mean of its positive entries.

    Returns:
        Mean over all pairs; 0 for a single caption.
    """
    return F.smooth_l1_loss(
        _relative_distances(student), _relative_distances(teacher.detach()), beta=1.0
    )


def _relative_distances(
    rows: Float[Tensor, "captions dim"],
) -> Float[Tensor, "captions captions"]:
    squares = _squared_distances(_gram(rows)).clamp_min(_SMALLEST_SQUARE)
    off_diagonal = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    distances = squares.sqrt() * off_diagonal
    # Every off-diagonal entry is positive because of the floor.
    return distances / (distances.sum() / max(len(rows) * (len(rows) - 1), 1)).clamp_min(
        _SMALLEST_SQUARE
    )


def _gram(rows: Float[Tensor, "captions dim"]) -> Float[Tensor, "captions captions"]:
    """Inner products about the mean row; centring keeps differences of close rows exact."""
    centred = rows - rows.mean(dim=0)
    return centred @ centred.T


def _squared_distances(
    gram: Float[Tensor, "captions captions"],
) -> Float[Tensor, "captions captions"]:
    squares = gram.diagonal()
    return squares[:, None] + squares[None, :] - 2 * gram


def angle_loss(
    student: Float[Tensor, "captions hidden"], teacher: Float[Tensor, "captions text"]
) -> Float[Tensor, ""]:
    """Smooth-L1 between the angles of all triples of captions.

    With `e_ij = unit(x_j - x_i)` the angle is `A_ijk = <e_ij, e_ik>`. Differences are never
    built: `<x_j - x_i, x_k - x_i> = G_jk - G_ij - G_ik + G_ii` for the Gram matrix G, taken in
    blocks of anchors i, loss and gradient in one pass, so memory is O(Q^2).

    Returns:
        Mean over all Q^3 entries.
    """
    loss: Tensor = _AngleLoss.apply(  # type: ignore[no-untyped-call]
        _gram(student), _gram(teacher.detach())
    )
    return loss


class _AngleLoss(torch.autograd.Function):
    """Angle loss as a function of the Gram matrices; the gradient is made with the loss."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        student: Float[Tensor, "captions captions"],
        teacher: Float[Tensor, "captions captions"],
    ) -> Float[Tensor, ""]:
        num_captions = len(student)
        block = max(1, _BLOCK_ELEMENTS // num_captions**2)
        total = student.new_zeros(())
        gradient = torch.zeros_like(student)
        student_inverse, teacher_inverse = _inverse_distances(student), _inverse_distances(teacher)
        for start in range(0, num_captions, block):
            anchors = slice(start, min(start + block, num_captions))
            products = _anchored_products(student, anchors)
            inverse = student_inverse[anchors]
            difference = _angles(products, inverse) - _angles(
                _anchored_products(teacher, anchors), teacher_inverse[anchors]
            )
            slope = difference.clamp(-1, 1)
            # smooth-L1 is slope * (difference - slope / 2) on both of its branches.
            total += (slope * (difference - slope / 2)).sum()
            _add_gradient(gradient, anchors, slope, products, inverse)
        ctx.save_for_backward(gradient / num_captions**3)
        return total / num_captions**3

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None


def _inverse_distances(
    gram: Float[Tensor, "captions captions"],
) -> Float[Tensor, "captions captions"]:
    """1 / |x_j - x_i|; 0 where the rows are equal, whose difference has no direction."""
    squares = _squared_distances(gram)
    floor = _SMALLEST_SQUARE * gram.diagonal().amax().clamp_min(_SMALLEST_SQUARE)
    distinct = squares > floor
    distinct &= ~torch.eye(len(gram), dtype=torch.bool, device=gram.device)
    return torch.where(distinct, squares, 1).rsqrt() * distinct


def _anchored_products(
    gram: Float[Tensor, "captions captions"], anchors: slice
) -> Float[Tensor, "anchors captions captions"]:
    """Inner products of the differences to each anchor."""
    rows = gram[anchors]
    corner = gram.diagonal()[anchors]
    return (gram[None] - rows[:, :, None]) - (rows - corner[:, None])[:, None, :]


def _angles(
    products: Float[Tensor, "anchors captions captions"],
    inverse: Float[Tensor, "anchors captions"],
) -> Float[Tensor, "anchors captions captions"]:
    return products * inverse[:, :, None] * inverse[:, None, :]


def _add_gradient(
    gradient: Float[Tensor, "captions captions"],
    anchors: slice,
    slope: Float[Tensor, "anchors captions captions"],
    products: Float[Tensor, "anchors captions captions"],
    inverse: Float[Tensor, "anchors captions"],
) -> None:
    """Add a block's derivative by the student's Gram matrix.

    By the product: M_ijk = slope_ijk / (n_ij n_ik) for `G_jk - G_ij - G_ik + G_ii`. By the
    distances: `2 sum_k slope_ijk N_ijk / n_ik` for 1 / n_ij, and n_ij^2 = G_ii + G_jj - 2 G_ij.
    """
    by_product = _angles(slope, inverse)
    row_sums = by_product.sum(dim=2)
    gradient += by_product.sum(dim=0)
    by_inverse = 2 * torch.einsum("ajk,ajk->aj", by_product, products)
    # d(1/n) = -n^-3 d(n^2) / 2, and one factor 1 / n is in by_product already.
    by_square = -by_inverse * inverse**2 / 2
    gradient[anchors] -= 2 * row_sums + 2 * by_square
    diagonal = gradient.diagonal()
    diagonal += by_square.sum(dim=0)
    diagonal[anchors] += row_sums.sum(dim=1) + by_square.sum(dim=1)
