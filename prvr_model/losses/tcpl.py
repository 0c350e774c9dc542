"""Text correlation preservation (TCPL): queries keep the foundation model's relations.

Source: the MSC paper, losses, TCPL. The student is the learned query vector, the teacher the
foundation model's sentence vector; the teacher gets no gradient.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from prvr_model.losses.angles import Distances, angle_slopes
from prvr_model.network.fused_blocks import can_fuse

# Floor of squared distances before the root; published value.
_SMALLEST_SQUARE = 1e-12
# Captions whose squared distance is below this share of the largest one count as equal: that of
# equal rows is zero in exact arithmetic, and float32 features cannot tell closer rows apart.
_EQUAL_SHARE = 1e-12
# Elements of one block of angles: an accelerator wants few large steps.
_BLOCK_ELEMENTS = 1 << 24
# Smaller tiles skip more of the mirrored half of the pairs, but cost more calls.
_TILE_ROWS = 64


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
    """Squared distances from inner products, in the type of the rows.

    The products are float64: those of nearly equal captions are nearly equal, and float32 would
    lose their difference. That costs O(Q^2 D), next to nothing.
    """
    exact = rows.double()
    gram = exact @ exact.T
    squares = gram.diagonal()
    return (squares[:, None] + squares[None, :] - 2 * gram).to(rows.dtype)


def angle_loss(
    student: Float[Tensor, "captions hidden"],
    teacher: Float[Tensor, "captions text"],
    anchors: slice | None = None,
) -> Float[Tensor, ""]:
    """Smooth-L1 between the angles of all triples of captions.

    With `e_ij = unit(x_j - x_i)` the angle is `A_ijk = <e_ij, e_ik>`. Differences are never
    built: `<x_j - x_i, x_k - x_i> = (S_ij + S_ik - S_jk) / 2` for the squared distances S (the
    law of cosines), loss and gradient in one pass, so memory is O(Q^2). Equal captions have no
    direction: their angles are 0.

    Args:
        student: Query vectors.
        teacher: The foundation model's sentence vectors.
        anchors: Captions i whose angles are computed; None: all. Losses of parts add up.

    Returns:
        Sum over the anchors' entries, divided by all Q^3.
    """
    taken = range(*(anchors or slice(None)).indices(len(student)))
    loss: Tensor = _AngleLoss.apply(  # type: ignore[no-untyped-call]
        _squared_distances(student), _squared_distances(teacher.detach()).to(student.dtype), taken
    )
    return loss


class _AngleLoss(torch.autograd.Function):
    """Angle loss as a function of squared distances; computes the gradient with the loss.

    `A_ijk = A_ikj`, so only pairs (j, k) on the diagonal and to its right are computed: on
    processors by a compiled loop, on accelerators in tiles.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        student: Float[Tensor, "captions captions"],
        teacher: Float[Tensor, "captions captions"],
        taken: range,
    ) -> Float[Tensor, ""]:
        sides = _Side.of(student), _Side.of(teacher)
        if can_fuse(student):
            own, wanted = (Distances(side.halves, side.inverse) for side in sides)
            total, gradient = angle_slopes(own, wanted, taken)
        else:
            total, gradient = _sum_of_tiles(*sides, taken)
        ctx.save_for_backward(gradient / len(student) ** 3)
        return total / len(student) ** 3

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None, None


@dataclass(frozen=True)
class _Side:
    """Student or teacher, by anchor i and caption j.

    Args:
        halves: Half the squared distances, h.
        inverse: Inverse distances r; 0 where captions are equal.
        scaled: Their product, `c = r h`.
    """

    halves: Float[Tensor, "captions captions"]
    inverse: Float[Tensor, "captions captions"]
    scaled: Float[Tensor, "captions captions"]

    @classmethod
    def of(cls, squares: Float[Tensor, "captions captions"]) -> "_Side":
        """From squared distances."""
        halves, inverse = squares / 2, _inverse_distances(squares)
        return cls(halves, inverse, halves * inverse)

    def columns(self, tile: "_Tile", anchors: slice) -> Float[Tensor, "anchors rows columns"]:
        """`r_k (h_k - H_jk)`: the angles over r_j, less `r_k h_j`."""
        return torch.addcmul(
            self.scaled[anchors, None, tile.columns],
            self.halves[None, tile.rows, tile.columns],
            self.inverse[anchors, None, tile.columns],
            value=-1,
        )


@dataclass(frozen=True)
class _Tile:
    """Captions j and k of some pairs; off the diagonal the mirror image counts as well."""

    rows: slice
    columns: slice
    weight: int

    @property
    def size(self) -> int:
        """Number of pairs."""
        sides = (self.rows, self.columns)
        return math.prod(side.stop - side.start for side in sides)


def _tiles(num_captions: int) -> Iterator[_Tile]:
    for start in range(0, num_captions, _TILE_ROWS):
        rows = slice(start, min(start + _TILE_ROWS, num_captions))
        yield _Tile(rows, rows, weight=1)
        if rows.stop < num_captions:
            yield _Tile(rows, slice(rows.stop, num_captions), weight=2)


def _sum_of_tiles(
    student: _Side, teacher: _Side, taken: range
) -> tuple[Float[Tensor, ""], Float[Tensor, "captions captions"]]:
    """Loss and its derivative by the student's squares, before the division."""
    total, gradient = student.halves.new_zeros(()), torch.zeros_like(student.halves)
    for tile in _tiles(len(gradient)):
        block = max(1, _BLOCK_ELEMENTS // tile.size)
        for start in range(taken.start, taken.stop, block):
            anchors = slice(start, min(start + block, taken.stop))
            total += _add_block(gradient, student, teacher, tile, anchors)
    return total, gradient


def _add_block(
    gradient: Float[Tensor, "captions captions"],
    student: _Side,
    teacher: _Side,
    tile: _Tile,
    anchors: slice,
) -> Float[Tensor, ""]:
    """Loss of a tile for some anchors; its derivative by the student's squares is added."""
    row_inverse = student.inverse[anchors, tile.rows, None]
    difference = student.columns(tile, anchors).mul_(row_inverse)
    scratch = teacher.columns(tile, anchors)
    difference.addcmul_(scratch, teacher.inverse[anchors, tile.rows, None], value=-1)
    rows, columns = (anchors, tile.rows), (anchors, tile.columns)
    scaled = torch.stack((student.scaled[rows], -teacher.scaled[rows]), dim=2)
    difference.baddbmm_(
        scaled, torch.stack((student.inverse[columns], teacher.inverse[columns]), 1)
    )
    slope = torch.clamp(difference, -1, 1, out=scratch)
    # smooth-L1 is slope * (difference - slope / 2) on both of its branches.
    flat = slope.flatten()
    loss = torch.dot(flat, difference.flatten()) - torch.dot(flat, flat) / 2
    _add_gradient(gradient, student, tile, anchors, slope.mul_(row_inverse), scratch=difference)
    return loss * tile.weight


def _add_gradient(
    gradient: Float[Tensor, "captions captions"],
    student: _Side,
    tile: _Tile,
    anchors: slice,
    slope: Float[Tensor, "anchors rows columns"],
    scratch: Float[Tensor, "anchors rows columns"],
) -> None:
    """Add the derivative by the squares, given the slopes W times r_j.

    With `V = W r_j r_k`: by `H_jk` it is -V summed over anchors, and by an anchor's own
    `S_ij`, from the inner product and from the distance in both factors,
    `sum_k V - r_j^2 sum_k W A_jk`, where `sum_k W A_jk = sum_k V (h_j + h_k - H_jk)`.
    """
    rows, columns = tile.rows, tile.columns
    halves, inverse = student.halves[anchors], student.inverse[anchors]
    by_row = slope @ torch.stack((inverse[:, columns], student.scaled[anchors, columns]), dim=2)
    pulled = slope.mul_(inverse[:, None, columns])
    by_pair = torch.mul(pulled, student.halves[rows, columns], out=scratch)
    angles = halves[:, rows] * by_row[:, :, 0] + by_row[:, :, 1] - by_pair.sum(dim=2)
    gradient[anchors, rows] += by_row[:, :, 0] - inverse[:, rows] ** 2 * angles
    if tile.weight > 1:
        # The mirror images: k takes the part of j.
        own = halves[:, rows]
        sums = torch.stack((torch.ones_like(own), own), dim=1) @ pulled
        angles = halves[:, columns] * sums[:, 0] + sums[:, 1] - by_pair.sum(dim=1)
        gradient[anchors, columns] += sums[:, 0] - inverse[:, columns] ** 2 * angles
    gradient[rows, columns].sub_(pulled.sum(dim=0), alpha=tile.weight / 2)


def _inverse_distances(
    squares: Float[Tensor, "captions captions"],
) -> Float[Tensor, "captions captions"]:
    """1 / |x_j - x_i|; 0 where the rows are equal, whose difference has no direction."""
    distinct = squares > _EQUAL_SHARE * squares.amax()
    distinct &= ~torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    return torch.where(distinct, squares, 1).rsqrt() * distinct
