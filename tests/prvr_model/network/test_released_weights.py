"""Released checkpoints: names, sizes, and files that are not what they say."""

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prvr_model.errors import CheckpointError, SettingsError
from prvr_model.network.model import MscModel
from prvr_model.network.released_weights import (
    our_name,
    read_released_file,
    released_model,
    renamed_weights,
)
from prvr_model.settings import ModelSettings
from tests.prvr_model.tiny import TEXT_DIM, VIDEO_DIM, tiny_model, tiny_settings

# Ours -> released, the inverse of the loader's renaming, part by part.
_INVERSE = (
    (r"^mixing_token$", "weight_token"),
    (r"^caption_encoder\.pooling", "modular_vector_mapping"),
    (r"^alignment", "vproj_clip"),
    (r"^caption_encoder\.projection\.(feature_norm|linear)", r"query_input_proj.\1"),
    (r"^caption_encoder\.projection\.", "query_pos_embed."),
    (r"^caption_encoder\.block", "query_encoder"),
    (r"^(clip|frame)_branch\.projection\.(feature_norm|linear)", r"\1_input_proj.\2"),
    (r"^(clip|frame)_branch\.projection\.", r"\1_pos_embed."),
    (r"^clip_branch", "clip_encoder"),
    (r"^frame_branch", "frame_encoder_1"),
    (r"feature_norm|position_norm", "LayerNorm"),
    (r"_proj\.linear", "_proj.net.1"),
    (r"\.positions", ".position_embeddings"),
    (r"blocks\.", "attn"),
    (r"mixing\.summary", "ca"),
    (r"mixing\.hidden", "layer1"),
    (r"mixing\.weights", "layer2"),
    (r"\.attention\.", ".self."),
    (r"\.expand", ".output.layer1"),
    (r"\.contract", ".output.layer2"),
    (r"attention_norm", "norm1"),
    (r"output_norm", "norm2"),
)


def released_name(name: str) -> str:
    for pattern, replacement in _INVERSE:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture
def released_state() -> dict[str, Tensor]:
    state = tiny_model(tiny_settings()).state_dict()
    return {released_name(name): torch.randn_like(tensor) for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_arrive_under_our_names(released_state: dict[str, Tensor], prefix: str) -> None:
    state = {prefix + k: v for k, v in released_state.items()}
    found = renamed_weights(tiny_model(tiny_settings()), state, "file")
    for name, tensor in found.items():
        assert torch.equal(tensor, released_state[released_name(name)]), name


def test_names_of_the_published_implementation() -> None:
    assert our_name("clip_encoder.attn3.self.query.weight") == (
        "clip_branch.blocks.3.attention.query.weight"
    )
    assert our_name("module.frame_encoder_1.ca.norm2.bias") == (
        "frame_branch.mixing.summary.output_norm.bias"
    )
    assert our_name("frame_input_proj.net.1.weight") == "frame_branch.projection.linear.weight"
    assert our_name("decoder.weight") is None


def test_every_misfit_is_listed(released_state: dict[str, Tensor]) -> None:
    released_state["vproj_clip.weight"] = torch.zeros(3, 3)
    del released_state["weight_token"]
    released_state["decoder.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        renamed_weights(tiny_model(tiny_settings()), released_state, "some.ckpt")
    message = str(caught.value)
    assert message.startswith("some.ckpt does not fit the model")
    assert "no weight for mixing_token" in message
    assert "decoder.weight is not part of the model" in message
    assert "alignment.weight has shape (3, 3), the settings say (16, 16)" in message


# What weights do not tell of `tiny_settings`.
UNTOLD = {"model.num_heads": 4, "model.merge_ratio": 0.75, "model.mixing_temperature": 0.09}


def test_a_model_is_built_from_its_weights_sizes(
    tmp_path: Path, released_state: dict[str, Tensor]
) -> None:
    path = tmp_path / "a.ckpt"
    # Averaged weights and the optimizer's state, bare or nested, are other tensors.
    others = {"ema.weight_token": torch.zeros(2), "optimizer.step": torch.zeros(1)}
    torch.save({"model": released_state | others, "optimizer": {"state": {0: torch.ones(1)}}}, path)
    found = released_model(path, "tvr", UNTOLD)
    wanted = tiny_settings().model
    assert found.settings.model.hidden_size == wanted.hidden_size
    assert found.settings.model.num_frames == wanted.num_frames
    assert found.settings.model.num_clips == wanted.num_clips
    assert found.settings.model.num_scales == wanted.num_scales
    assert (found.video_dim, found.text_dim) == (VIDEO_DIM, TEXT_DIM)
    model = found.build(torch.device("cpu"))
    assert torch.equal(model.mixing_token, released_state["weight_token"])


def test_sizes_that_are_set_must_be_those_of_the_weights(
    tmp_path: Path, released_state: dict[str, Tensor]
) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(released_state, path)
    with pytest.raises(CheckpointError) as caught:
        released_model(path, None, {**UNTOLD, "model.num_scales": 8, "model.num_clips": 32})
    assert "model.num_scales is 8 by the settings, the weights have 2" in str(caught.value)
    assert "model.num_clips is 32 by the settings, the weights have 8" in str(caught.value)
    # What else does not fit is told with it.
    torch.save({**released_state, "decoder.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError) as caught:
        released_model(path, None, {**UNTOLD, "model.num_scales": 8})
    assert "model.num_scales is 8 by the settings, the weights have 2" in str(caught.value)
    assert "decoder.weight is not part of the model" in str(caught.value)
    torch.save(released_state, path)
    # What the weights do not tell must fit their sizes.
    with pytest.raises(SettingsError, match="set merge_ratio"):
        released_model(path, None, {})
    del released_state["vproj_clip.weight"]
    released_state["frame_encoder_1.layer2.weight"] = torch.zeros(1)
    released_state["decoder.weight"] = torch.zeros(1)
    torch.save(released_state, path)
    with pytest.raises(CheckpointError) as caught:
        released_model(path, None, UNTOLD)
    assert "no weight for alignment.weight, which tells model.hidden_size" in str(caught.value)
    assert "frame_branch.mixing.weights.weight has shape (1,), which is no" in str(caught.value)
    assert "decoder.weight is not part of the model" in str(caught.value)


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_a_file_is_read(tmp_path: Path, released_state: dict[str, Tensor], key: str | None) -> None:
    content = released_state if key is None else {key: released_state, "epoch": 7}
    torch.save(content, tmp_path / "a.ckpt")
    found = read_released_file(tmp_path / "a.ckpt")
    assert set(found) == set(released_state)


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_malicious_file_runs_nothing(tmp_path: Path, how: str) -> None:
    target = tmp_path / "attacked"
    content = {"state_dict": {"weight_token": torch.zeros(1)}, "extra": _Attack(target)}
    path = tmp_path / "evil.ckpt"
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError) as caught:
        read_released_file(path)
    assert "evil.ckpt: cannot be read as tensors only: it holds an object of " in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not target.exists()
    # The attack itself works: without the loader's care it would have run.
    pickle.loads(pickle.dumps(_Attack(target)))
    assert target.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), {"epoch": 3}, {}])
def test_a_file_without_a_state_dictionary_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="holds no state dictionary of tensors"):
        read_released_file(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_released_file(path)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.ckpt: cannot be read"):
        read_released_file(path)


def test_weights_start_as_released() -> None:
    # The mixing token belongs to no layer, so the layers' standard deviation does not reach it.
    torch.manual_seed(0)
    model = MscModel(ModelSettings(hidden_size=512), video_dim=16, text_dim=16)
    spreads = {name: float(weight.detach().std()) for name, weight in model.named_parameters()}
    assert spreads["mixing_token"] == pytest.approx(1, rel=0.15)
    assert spreads["alignment.weight"] == pytest.approx(0.02, rel=0.05)
    assert spreads["alignment.bias"] == 0
