"""The projection of features as one operation with a gradient of its own, for processors.

It computes what `InputProjection` computes step by step; see `fused_blocks`. Features are many and
have no gradient, so only products pass over them: with normal features n (mean 0, deviation 1), the
dropout's mask m and the gradient g of the layer's output, P = g^T (m n) and Q = g^T m give the
gradients by the layer's weight W, and by the norm's weight w and bias b before it:

    by W = P w + Q b        by w = sum over rows of W P        by b = sum over rows of W Q

where w and b multiply columns.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from prvr_model.network.fused_blocks import in_own_type
from prvr_model.network.row_steps import (
    Layer,
    draw,
    norm_drop,
    place_norm,
    place_norm_backward,
)


# Six: rows, three layers, and the rates of both dropouts.
def fused_projection(
    features: Float[Tensor, "batch length features"],
    feature_norm: Layer,
    linear: Layer,
    positions: Float[Tensor, "length hidden"],
    position_norm: Layer,
    rates: tuple[float, float],
    dtype: torch.dtype,
) -> Float[Tensor, "batch length hidden"]:
    """As `InputProjection.forward`.

    Args:
        features: Rows without a gradient.
        feature_norm: Norm of the features.
        linear: Weight and bias of the layer.
        positions: Added to each sequence.
        position_norm: Norm after that.
        rates: Rates of dropout of the features and of the result.
        dtype: Type of products.
    """
    parameters = (*feature_norm, *linear, positions, *position_norm)
    rows: Tensor = _FusedProjection.apply(features, rates, dtype, *parameters)  # type: ignore[no-untyped-call]
    return rows


class _FusedProjection(torch.autograd.Function):
    @staticmethod
    @in_own_type
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        features: Float[Tensor, "batch length features"],
        rates: tuple[float, float],
        dtype: torch.dtype,
        *parameters: Tensor,
    ) -> Float[Tensor, "batch length hidden"]:
        norm_weight, norm_bias, weight, bias, positions, *last = parameters
        draws = tuple(draw(rate) for rate in rates)
        flat = features.flatten(0, 1).contiguous()
        entered, _ = norm_drop(flat, Layer(norm_weight, norm_bias), draws[0], dtype)
        projected = torch.addmm(bias.to(dtype), entered, weight.to(dtype).T)
        placed = place_norm(projected, positions, Layer(*last), draws[1])
        ctx.draws, ctx.dtype = draws, dtype
        ctx.save_for_backward(flat, *parameters, projected, placed.normal, placed.inverse)
        return placed.output.view(*features.shape[:2], len(bias))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        flat, norm_weight, norm_bias, weight, _, positions, *last, projected, normal, inverse = (
            ctx.saved_tensors
        )
        entering, leaving = ctx.draws
        by_output = gradients[0].flatten(0, 1).contiguous()
        by_last = place_norm_backward(
            by_output, projected, normal, inverse, len(positions), Layer(*last), leaving
        )
        plain = Layer(torch.ones_like(norm_weight), torch.zeros_like(norm_bias))
        kept, mask = norm_drop(flat, plain, entering, ctx.dtype, with_mask=entering.rate > 0)
        by_kept = (by_last.by_projected.T @ kept).to(weight.dtype)
        by_mask = by_last.by_bias[:, None]
        if entering.rate:
            by_mask = (by_last.by_projected.T @ mask).to(weight.dtype)
        by_weight = torch.addcmul(by_mask * norm_bias, by_kept, norm_weight)
        by_norm = (weight * by_kept).sum(dim=0), (weight * by_mask).sum(dim=0)
        found = (*by_norm, by_weight, by_last.by_bias, by_last.by_positions, *by_last.by_layer)
        return None, None, None, *found
