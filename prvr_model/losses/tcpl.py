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
# Squared distances below this share of the largest one are those of equal captions: both are
# zero in exact arithmetic, and float32 features cannot tell rows apart that are closer.
_EQUAL_SHARE = 1e-12
# Elements of one block of angles. On a processor a few such arrays should stay in its cache; an
# accelerator wants few large steps.
_BLOCK_ELEMENTS = {"cpu": 1 << 17}
_ACCELERATOR_BLOCK_ELEMENTS = 1 << 24


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
    squares = _squared_distances(rows).clamp_min(_SMALLEST_SQUARE)
    off_diagonal = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    distances = squares.sqrt() * off_diagonal
    # Every off-diagonal entry is positive because of the floor.
    mean = distances.sum() / max(len(rows) * (len(rows) - 1), 1)
    return distances / mean.clamp_min(_SMALLEST_SQUARE)


def _squared_distances(
    rows: Float[Tensor, "captions dim"],
) -> Float[Tensor, "captions captions"]:
    """Squared distances by way of inner products, in the type of the rows.

    The products are float64: they are nearly equal for captions that are nearly the same, and
    in float32 nothing would be left of their difference. That costs O(Q^2 D), next to nothing.
    """
    exact = rows.double()
    gram = exact @ exact.T
    squares = gram.diagonal()
    return (squares[:, None] + squares[None, :] - 2 * gram).to(rows.dtype)


def angle_loss(
    student: Float[Tensor, "captions hidden"], teacher: Float[Tensor, "captions text"]
) -> Float[Tensor, ""]:
    """Smooth-L1 between the angles of all triples of captions.

    With `e_ij = unit(x_j - x_i)` the angle is `A_ijk = <e_ij, e_ik>`. Differences are never
    built: `<x_j - x_i, x_k - x_i> = (S_ij + S_ik - S_jk) / 2` for the squared distances S (the
    law of cosines), taken in blocks of anchors i, loss and gradient in one pass, so memory is
    O(Q^2). Equal captions have no direction: their angles are 0.

    Returns:
        Mean over all Q^3 entries.
    """
    loss: Tensor = _AngleLoss.apply(  # type: ignore[no-untyped-call]
        _squared_distances(student), _squared_distances(teacher.detach()).to(student.dtype)
    )
    return loss


class _AngleLoss(torch.autograd.Function):
    """Angle loss as a function of squared distances; the gradient is made with the loss."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        student: Float[Tensor, "captions captions"],
        teacher: Float[Tensor, "captions captions"],
    ) -> Float[Tensor, ""]:
        num_captions = len(student)
        block = max(1, _block_elements(student.device) // num_captions**2)
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


def _block_elements(device: torch.device) -> int:
    return _BLOCK_ELEMENTS.get(device.type, _ACCELERATOR_BLOCK_ELEMENTS)


def _inverse_distances(
    squares: Float[Tensor, "captions captions"],
) -> Float[Tensor, "captions captions"]:
    """1 / |x_j - x_i|; 0 where the rows are equal, whose difference has no direction."""
    distinct = squares > _EQUAL_SHARE * squares.amax()
    distinct &= ~torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    return torch.where(distinct, squares, 1).rsqrt() * distinct


def _anchored_products(
    squares: Float[Tensor, "captions captions"], anchors: slice
) -> Float[Tensor, "anchors captions captions"]:
    """Inner products of the differences to each anchor."""
    rows = squares[anchors] / 2
    return rows[:, :, None] + (rows[:, None, :] - squares / 2)


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
    """Add a block's derivative by the student's squared distances.

    With M_ijk = slope_ijk / (n_ij n_ik), n the distances: by the product, M / 2 for S_ij, S_ik
    and minus S_jk, where S_ij and S_ik give the same; by the distances, `n_ij^2 = S_ij` in both
    factors, `-sum_k M_ijk N_ijk / n_ij^2`.
    """
    by_product = _angles(slope, inverse)
    gradient -= by_product.sum(dim=0) / 2
    gradient[anchors] += by_product.sum(dim=2)
    by_inverse = torch.einsum("ajk,ajk->aj", by_product, products)
    gradient[anchors] -= by_inverse * inverse**2
