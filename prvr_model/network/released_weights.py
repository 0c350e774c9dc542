"""Reads checkpoints of the released implementation: tensors only, under its parameter names.

Such a checkpoint is a PyTorch file with a state dictionary, bare or under `state_dict`, `model` or
`model_state_dict`, whose names may carry the prefix `module.`. The optimizer's state, averaged
weights (EMA) and numbers beside it are ignored. Sizes are read from the weights; what weights do
not tell, e.g. the number of heads, comes from the settings.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prvr_model.errors import CheckpointError, SettingsError
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import ModelFile
from prvr_model.settings import PresetName, build_settings

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


def released_model(
    path: Path, preset: PresetName | None, overrides: Mapping[str, Any]
) -> ModelFile:
    """The model of a released checkpoint.

    Args:
        path: The file.
        preset: Published settings of its data set; None: the defaults.
        overrides: Settings by dotted path; a size among them must be that of the weights.

    Raises:
        CheckpointError: The file cannot be read as tensors only, or its weights are not those of
            this network with these settings; every mismatch is named.
        SettingsError: The settings contradict each other.
    """
    state = read_released_file(path)
    weights = {our_name(name) or name: tensor.float() for name, tensor in state.items()}
    sizes, problems = _sizes(weights)
    if problems:
        problems += [f"{name} is not part of the model" for name in state if our_name(name) is None]
        raise _misfit(str(path), problems)
    problems = [
        f"{name} is {overrides[name]} by the settings, the weights have {size}"
        for name, size in sizes.items()
        if overrides.get(name, size) != size
    ]
    dims = {name: sizes.pop(name) for name in ("video_dim", "text_dim")}
    try:
        # Losses play no part, and the published levels are for the published number of clips.
        settings = build_settings(preset, {"losses.cross_branch": "off", **overrides, **sizes})
    except SettingsError as error:
        if not problems:
            raise
        # It may follow from the sizes that were set.
        raise _misfit(str(path), problems) from error
    problems += _misfits(MscModel(settings.model, **dims), weights)
    if problems:
        raise _misfit(str(path), problems)
    return ModelFile(settings, dims["video_dim"], dims["text_dim"], epoch=0, weights=weights)


# Setting -> our name of the weight that tells it, and the axis.
_SIZES = {
    "model.hidden_size": ("alignment.weight", 0),
    "model.max_caption_tokens": ("caption_encoder.projection.positions.weight", 0),
    "model.num_frames": ("frame_branch.mixing.weights.weight", 0),
    "model.num_clips": ("clip_branch.mixing.weights.weight", 0),
    "video_dim": ("frame_branch.projection.linear.weight", 1),
    "text_dim": ("caption_encoder.projection.linear.weight", 1),
}
_BLOCK_NUMBER = re.compile(r"clip_branch\.blocks\.(\d+)\.")


def _sizes(weights: Mapping[str, Tensor]) -> tuple[dict[str, int], list[str]]:
    """Sizes by setting as the weights tell them, and which weights do not tell theirs."""
    found, problems = {}, []
    for setting, (name, axis) in _SIZES.items():
        if name not in weights:
            problems.append(f"no weight for {name}, which tells {setting}")
        elif weights[name].ndim != 2:
            problems.append(f"{name} has shape {tuple(weights[name].shape)}, which is no matrix")
        else:
            found[setting] = weights[name].shape[axis]
    blocks = {match[1] for name in weights if (match := _BLOCK_NUMBER.match(name))}
    if blocks:
        found["model.num_scales"] = len(blocks)
    else:
        problems.append("no weight for clip_branch.blocks, which tell model.num_scales")
    return found, problems


def renamed_weights(model: MscModel, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Released weights in float32 under the names of a model of the same sizes.

    Args:
        model: The model, which is left as it is.
        state: Tensors by released name.
        source: Where the state comes from, for messages.

    Raises:
        CheckpointError: Names are missing or unknown, or sizes differ; all are listed.
    """
    renamed = {our_name(name) or name: tensor.float() for name, tensor in state.items()}
    if problems := _misfits(model, renamed):
        raise _misfit(source, problems)
    return renamed


def _misfits(model: MscModel, weights: Mapping[str, Tensor]) -> list[str]:
    """How weights under our names differ from those of a model, a line each."""
    expected = model.state_dict()
    problems = [f"no weight for {name}" for name in expected if name not in weights]
    problems += [f"{name} is not part of the model" for name in weights if name not in expected]
    problems += [
        f"{name} has shape {tuple(weights[name].shape)}, the settings say {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    return problems


def _misfit(source: str, problems: list[str]) -> CheckpointError:
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return CheckpointError(f"{source} does not fit the model:\n{lines}")


_STATE_KEYS = ("state_dict", "model", "model_state_dict")
_IGNORED = re.compile(r"(ema|ema_model|model_ema|optimizer|optimizer_state_dict)\.")


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
        raise CheckpointError(f"{path}: cannot be read as tensors only: {_why(error)}") from error
    if isinstance(content, dict):
        nested = (content[key] for key in _STATE_KEYS if isinstance(content.get(key), dict))
        content = next(nested, content)
    state = content if isinstance(content, dict) else {}
    tensors = {
        name: value
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, Tensor) and not _IGNORED.match(name)
    }
    if not tensors:
        raise CheckpointError(f"{path}: holds no state dictionary of tensors")
    return tensors


_OBJECT = re.compile(r"GLOBAL ([\w.]+)")


def _why(error: Exception) -> str:
    """What torch says, without its advice to read the file in a way that runs code."""
    text = str(error)
    if found := _OBJECT.search(text):
        return (
            f"it holds an object of {found[1]}, and to read objects can run code; where the file "
            "is trusted, save its state dictionary alone with torch.save"
        )
    return text.strip().partition("\n")[0].partition(". ")[0] or type(error).__name__


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
