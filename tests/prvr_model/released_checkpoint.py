"""Names of released checkpoints, and a loader that takes tensors only, for tests of equality.

A released checkpoint is a PyTorch file with a state dictionary, bare or under `state_dict` or
`model`, whose names may carry the prefix `module.`. Nothing of it but tensors is unpickled.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prvr_model.errors import CheckpointError
from prvr_model.network.model import MscModel

_BLOCK = (
    (r"self\.(query|key|value)\.", r"attention.\1."),
    (r"output\.layer1\.", "expand."),
    (r"output\.layer2\.", "contract."),
    (r"norm1\.", "attention_norm."),
    (r"norm2\.", "output_norm."),
)
# Prefix of a released name -> prefix of ours; the rest is renamed by the rules that follow it.
_PROJECTION = ((r"LayerNorm\.", "feature_norm."), (r"net\.1\.", "linear."))
_POSITIONS = ((r"position_embeddings\.", "positions."), (r"LayerNorm\.", "position_norm."))
_MIXING = (
    (r"attn(\d+)\.", r"blocks.\1."),
    (r"ca\.", "mixing.summary."),
    (r"layer1\.", "mixing.hidden."),
    (r"layer2\.", "mixing.weights."),
)
_PREFIXES: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("weight_token", "mixing_token", ()),
    ("modular_vector_mapping.", "caption_encoder.pooling.", ()),
    ("vproj_clip.", "alignment.", ()),
    ("query_input_proj.", "caption_encoder.projection.", _PROJECTION),
    ("query_pos_embed.", "caption_encoder.projection.", _POSITIONS),
    ("query_encoder.", "caption_encoder.block.", _BLOCK),
    ("clip_input_proj.", "clip_branch.projection.", _PROJECTION),
    ("clip_pos_embed.", "clip_branch.projection.", _POSITIONS),
    ("clip_encoder.", "clip_branch.", _MIXING),
    ("frame_input_proj.", "frame_branch.projection.", _PROJECTION),
    ("frame_pos_embed.", "frame_branch.projection.", _POSITIONS),
    ("frame_encoder_1.", "frame_branch.", _MIXING),
)


def our_name(released: str) -> str | None:
    """Our parameter name for a released one, with or without `module.`; None if unknown."""
    name = released.removeprefix("module.")
    for prefix, ours, rules in _PREFIXES:
        if name.startswith(prefix):
            return ours + _rename(name.removeprefix(prefix), rules)
    return None


def _rename(rest: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        renamed, count = re.subn(f"^{pattern}", replacement, rest)
        if count:
            block = re.match(r"(blocks\.\d+\.|mixing\.summary\.)(.*)", renamed)
            return block[1] + _rename(block[2], _BLOCK) if block else renamed
    return rest


def load_released_state(model: MscModel, state: Mapping[str, Tensor], source: str) -> None:
    """Copy released weights into a model of the same sizes.

    Args:
        model: Filled in place.
        state: Tensors by released name.
        source: Where the state comes from, for messages.

    Raises:
        CheckpointError: Names are missing or unknown, or sizes differ; all are listed and the
            model is left as it was.
    """
    renamed = {our_name(name) or f"unknown {name}": tensor for name, tensor in state.items()}
    expected = model.state_dict()
    problems = [f"no weight for {name}" for name in expected if name not in renamed]
    problems += [f"{name} is not part of the model" for name in renamed if name not in expected]
    problems += [
        f"{name} has shape {tuple(renamed[name].shape)}, the settings say {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in renamed and renamed[name].shape != tensor.shape
    ]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise CheckpointError(f"{source} does not fit the model:\n{lines}")
    model.load_state_dict(renamed)


def read_released_file(path: Path) -> dict[str, Tensor]:
    """State dictionary of a released checkpoint file.

    Raises:
        CheckpointError: The file is missing, holds anything but plain tensors and containers,
            or no state dictionary.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except Exception as error:
        raise CheckpointError(f"{path}: cannot be read as tensors only: {error}") from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if (isinstance(content, dict))
        else {}
    )
    if not tensors:
        raise CheckpointError(f"{path}: holds no state dictionary of tensors")
    return tensors
