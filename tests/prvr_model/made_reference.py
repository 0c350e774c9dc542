"""A small file of the reference format whose numbers are our own, of one process in float32."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prvr_model.network.model import MscModel
from tests.prvr_model.network.test_released_weights import released_name
from tests.reference_conformance import losses, read_reference, released_terms, settings_of

_CAPTIONS = (3, 1, 2, 4, 1)
_CONFIG: dict[str, Any] = {
    "model": {
        "visual_input_size": 8,
        "query_input_size": 6,
        "hidden_size": 8,
        "max_ctx_l": 128,
        "max_desc_l": 8,
        "n_heads": 2,
        "sft_factor": 0.09,
        "sim_thr": 0.9,
    },
    "loss": {
        "loss_factor": [0.05, 0.04],
        "margin": 0.1,
        "hard_pool_size": 1,
        "rkd_d_coef": 15.0,
        "rkd_a_coef": 30.0,
        "vl_coef": 0.1,
    },
    "optimizer": {"lr": 3e-4, "weight_decay": 0.01, "warmup": 0.01, "t_total": 300},
}


def write_reference(path: Path) -> None:
    """Write what `tests.ddp_parity` reads of such a file."""
    inputs = _inputs()
    np.savez(path, **inputs)
    reference = read_reference(path)
    terms = losses(reference)
    terms.total.backward()
    found = {f"loss/{name}": value for name, value in released_terms(reference, terms).items()}
    norms = {
        f"grad_norm/{released_name(name)}": np.nan
        if parameter.grad is None
        else float(parameter.grad.norm())
        for name, parameter in reference.model.named_parameters()
    }
    np.savez(path, **inputs, **found, **norms)


def _inputs() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    sizes = _CONFIG["model"]

    def rows(count: int, width: str) -> np.ndarray:
        return generator.standard_normal((count, sizes[width])).astype(np.float32)

    inputs: dict[str, Any] = {"config/json": json.dumps(_CONFIG)}
    for video, captions in enumerate(_CAPTIONS):
        # Neighbours that are alike, so that there is something to merge.
        steps = np.cumsum(rows(sizes["max_ctx_l"] + video, "visual_input_size"), axis=0)
        inputs[f"raw/video{video}/frames"] = steps
        for caption in range(captions):
            tokens = rows(2 + (video + caption) % 5, "query_input_size")
            inputs[f"raw/video{video}/caption{caption}"] = tokens
    order = generator.permutation(len(_CAPTIONS))
    inputs["batch/video_order"] = order
    inputs["batch/text_labels"] = np.repeat(np.arange(len(order)), np.array(_CAPTIONS)[order])
    torch.manual_seed(0)
    settings = settings_of(_CONFIG)
    model = MscModel(settings.model, sizes["visual_input_size"], sizes["query_input_size"])
    # As after some training: a bias that starts at zero stays there up to rounding.
    state = {
        name: value + 0.05 * torch.randn_like(value) for name, value in model.state_dict().items()
    }
    return inputs | {f"state/{released_name(name)}": value.numpy() for name, value in state.items()}
