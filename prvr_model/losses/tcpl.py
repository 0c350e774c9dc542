"""Text correlation preservation (TCPL): queries keep the foundation model's relations.

Source: the MSC paper, losses, TCPL. The student is the learned query vector, the teacher the
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
_BLOCK_ELEMENTS = {"cpu": 1 << 18}
_ACCELERATOR_BLOCK_ELEMENTS = 1 << 24
# More strips save more of the mirrored half of the pairs, and cost more calls.
_NUM_STRIPS = 4
_SMALLEST_STRIP = 32


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
    """Angle loss as a function of squared distances; the gradient is made with the loss.

    `A_ijk = A_ikj`, so of the pairs (j, k) only strips are taken: captions j of a strip with all k
    from its first caption on, those behind the strip counting twice.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        student: Float[Tensor, "captions captions"],
        teacher: Float[Tensor, "captions captions"],
    ) -> Float[Tensor, ""]:
        sides = _Side(student), _Side(teacher)
        total = student.new_zeros(())
        gradient = torch.zeros_like(student)
        for strip in _strips(len(student)):
            block = max(1, _block_elements(student.device) // strip.size)
            for start in range(0, len(student), block):
                anchors = slice(start, min(start + block, len(student)))
                total += _add_block(gradient, *sides, strip, anchors)
        ctx.save_for_backward(gradient / len(student) ** 3)
        return total / len(student) ** 3

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None


class _Side:
    """Student or teacher: half the squared distances, and their inverse distances."""

    def __init__(self, squares: Float[Tensor, "captions captions"]) -> None:
        self.halves = squares / 2
        self.inverse = _inverse_distances(squares)
        self.scaled = self.halves * self.inverse

    def partial(self, strip: "_Strip", anchors: slice) -> Float[Tensor, "anchors strip rest"]:
        """`r_j r_k (h_k - H_jk)`: the angles less their part of rank one, `r_j h_j r_k`."""
        inverse = self.inverse[anchors]
        rows = torch.addcmul(
            self.scaled[anchors, None, strip.rest],
            self.halves[None, strip.rows, strip.rest],
            inverse[:, None, strip.rest],
            value=-1,
        )
        return rows.mul_(inverse[:, strip.rows, None])


class _Strip:
    """Rows j of a strip and the columns k from its first row on."""

    def __init__(self, start: int, stop: int, num_captions: int) -> None:
        self.rows = slice(start, stop)
        self.rest = slice(start, num_captions)
        self.beyond = slice(stop, num_captions)
        self.width = stop - start
        self.size = self.width * (num_captions - start)


def _strips(num_captions: int) -> list[_Strip]:
    width = max(_SMALLEST_STRIP, -(-num_captions // _NUM_STRIPS))
    return [
        _Strip(start, min(start + width, num_captions), num_captions)
        for start in range(0, num_captions, width)
    ]


def _add_block(
    gradient: Float[Tensor, "captions captions"],
    student: _Side,
    teacher: _Side,
    strip: _Strip,
    anchors: slice,
) -> Float[Tensor, ""]:
    """Loss of a strip for some anchors; its derivative by the student's squares is added."""
    inverse, scaled = student.inverse[anchors], student.scaled[anchors]
    partial = student.partial(strip, anchors)
    difference = partial - teacher.partial(strip, anchors)
    left = torch.stack((scaled[:, strip.rows], -teacher.scaled[anchors, strip.rows]), dim=2)
    right = torch.stack((inverse[:, strip.rest], teacher.inverse[anchors, strip.rest]), dim=1)
    difference.baddbmm_(left, right)
    slope = difference.clamp(-1, 1)
    # smooth-L1 is slope * (difference - slope / 2) on both of its branches. A pair beyond the
    # strip stands for its mirror image too.
    twice = slope[:, :, strip.width :]
    loss = _product(slope, difference) - _product(slope, slope) / 2
    loss += _product(twice, difference[:, :, strip.width :]) - _product(twice, twice) / 2
    _add_anchor_terms(gradient[anchors], slope, partial, inverse, scaled, strip)
    slope.mul_(inverse[:, strip.rows, None]).mul_(inverse[:, None, strip.rest])
    slope[:, :, strip.width :] *= 2
    gradient[strip.rows, strip.rest].sub_(slope.sum(dim=0), alpha=0.5)
    return loss


def _add_anchor_terms(
    gradient: Float[Tensor, "anchors captions"],
    slope: Float[Tensor, "anchors strip rest"],
    partial: Float[Tensor, "anchors strip rest"],
    inverse: Float[Tensor, "anchors captions"],
    scaled: Float[Tensor, "anchors captions"],
    strip: _Strip,
) -> None:
    """Add the derivative by the anchors' own squares S_ij.

    With slopes W: `r_ij sum_k W_jk r_ik` by the inner product, and by the distance in both
    factors `-r_ij^2 sum_k W_jk A_jk`, where `A_jk = partial_jk + c_j r_k`, c the scaled halves.
    """
    weighted = partial.mul_(slope)
    rows, rest, beyond = strip.rows, strip.rest, strip.beyond
    by_row = (slope @ inverse[:, rest, None])[:, :, 0]
    angle_sums = weighted.sum(dim=2) + scaled[:, rows] * by_row
    gradient[:, rows] += inverse[:, rows] * by_row - inverse[:, rows] ** 2 * angle_sums
    # The mirror images: rows k beyond the strip, columns j in it.
    far_slope = slope[:, :, strip.width :]
    far = torch.stack((inverse[:, rows], scaled[:, rows]), dim=1) @ far_slope
    far_sums = weighted[:, :, strip.width :].sum(dim=1) + inverse[:, beyond] * far[:, 1]
    gradient[:, beyond] += inverse[:, beyond] * far[:, 0] - inverse[:, beyond] ** 2 * far_sums


def _product(
    left: Float[Tensor, "anchors strip rest"], right: Float[Tensor, "anchors strip rest"]
) -> Float[Tensor, ""]:
    """Sum of the products of all entries, in one pass."""
    return torch.einsum("ajk,ajk->", left, right)


def _block_elements(device: torch.device) -> int:
    return _BLOCK_ELEMENTS.get(device.type, _ACCELERATOR_BLOCK_ELEMENTS)


def _inverse_distances(
    squares: Float[Tensor, "captions captions"],
) -> Float[Tensor, "captions captions"]:
    """1 / |x_j - x_i|; 0 where the rows are equal, whose difference has no direction."""
    distinct = squares > _EQUAL_SHARE * squares.amax()
    distinct &= ~torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    return torch.where(distinct, squares, 1).rsqrt() * distinct
