"""Differences of the angles of all triples of captions, in one compiled pass: `tcpl` on processors.

On accelerators `tcpl` takes tiles. The loop keeps the rules of `row_kernels`.
"""
# ruff: noqa: ANN401  (numba knows the types of arguments, Python does not)

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from prvr_model.network.row_kernels import Rows, compiled
from prvr_model.network.row_steps import array, on_rows


class Distances(NamedTuple):
    """Of all pairs of captions; the angle at i is `r_ij r_ik (h_ij + h_ik - h_jk)`.

    Args:
        halves: Half their squares, h.
        inverse: Their inverses, r; 0 where there is no direction.
    """

    halves: Float[Tensor, "captions captions"]
    inverse: Float[Tensor, "captions captions"]


def angle_slopes(
    own: Distances, wanted: Distances, anchors: range
) -> tuple[Float[Tensor, ""], Float[Tensor, "captions captions"]]:
    """Sum of the smooth-L1 of all differences of angles, and its derivative.

    Args:
        own: Distances whose angles are compared.
        wanted: Distances whose angles are to be met.
        anchors: Captions i.

    Returns:
        The sum, and its derivative by the squares of the own distances.
    """
    losses = torch.zeros(len(anchors), dtype=torch.float64)
    by_squares = on_rows(
        _slopes,
        array(own.halves)[anchors.start : anchors.stop],
        *map(array, (*own, *wanted)),
        anchors.start,
        array(losses),
        sums=len(own.halves),
    )
    return losses.sum().to(own.halves.dtype), by_squares


@compiled
def _slopes(
    near: Rows,
    halves: Rows,
    inverse: Rows,
    other_halves: Rows,
    other_inverse: Rows,
    before: int,
    losses: Rows,
    sums: Rows,
    part: Any,
) -> None:
    """Losses of some anchors; the sums are their derivative."""
    captions = halves.shape[1]
    number = halves.dtype.type
    one, half = number(1), number(0.5)
    found = np.empty((2, captions), halves.dtype)
    for row in range(*part):
        anchor = before + row
        loss = 0.0
        for j in range(captions):
            own, other = inverse[anchor, j], other_inverse[anchor, j]
            left, other_left = near[row, j], other_halves[anchor, j]
            # The angle with itself is 1, or 0 where there is no direction: a constant.
            difference = own * own * (left + left) - other * other * (other_left + other_left)
            slope = min(max(difference, -one), one)
            loss += slope * (difference - half * slope)
            # Each other pair stands for its mirror image too. Views begin at 0, as fast loops do.
            k = j + 1
            right, scales, across = near[row, k:], inverse[anchor, k:], halves[j, k:]
            other_right, other_across = other_halves[anchor, k:], other_halves[j, k:]
            other_scales = other_inverse[anchor, k:]
            by_right, by_across = sums[anchor, k:], sums[j, k:]
            angles, differences = found[0, k:], found[1, k:]
            for k in range(right.shape[0]):
                angles[k] = own * scales[k] * (left + right[k] - across[k])
            for k in range(right.shape[0]):
                wanted = other_left + other_right[k] - other_across[k]
                differences[k] = angles[k] - other * other_scales[k] * wanted
            total, pulled, turned = number(0), number(0), number(0)
            for k in range(right.shape[0]):
                slope = min(max(differences[k], -one), one)
                total += slope * (differences[k] - half * slope)
                pulled += slope * scales[k]
                turned += slope * angles[k]
            for k in range(right.shape[0]):
                slope = min(max(differences[k], -one), one)
                by_right[k] += scales[k] * slope * (own - scales[k] * angles[k])
            for k in range(right.shape[0]):
                by_across[k] -= own * scales[k] * min(max(differences[k], -one), one)
            sums[anchor, j] += own * (pulled - own * turned)
            loss += 2 * total
        losses[row] = loss
