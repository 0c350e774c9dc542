"""Spanning trees and segment plans straight from clips; the product keeps their inner products."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from prvr_model.inputs.token_merging import inner_products, plans_from_products, tree_from_products


def spanning_tree_weights(
    clips: Float[np.ndarray, "videos clips dim"],
) -> Float[np.ndarray, "videos clips_less_one"]:
    """See `tree_from_products`."""
    return tree_from_products(inner_products(clips))


def segment_plans(
    clips: Float[np.ndarray, "videos clips dim"],
    sizes: Float[np.ndarray, "videos clips"],
    levels: Sequence[int],
) -> Int[np.ndarray, "videos levels clips"]:
    """See `plans_from_products`; clips are normalised."""
    return plans_from_products(inner_products(clips), sizes, levels)
