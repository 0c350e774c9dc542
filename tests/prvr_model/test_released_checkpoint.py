"""Released checkpoints: names, sizes, and files that are not what they say."""

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prvr_model.errors import CheckpointError
from tests.prvr_model.released_checkpoint import load_released_state, our_name, read_released_file
from tests.prvr_model.tiny import tiny_model, tiny_settings

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
    model = tiny_model(tiny_settings())
    load_released_state(model, {prefix + k: v for k, v in released_state.items()}, "file")
    for name, tensor in model.state_dict().items():
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


def test_every_misfit_is_listed_and_the_model_left_alone(
    released_state: dict[str, Tensor],
) -> None:
    model = tiny_model(tiny_settings())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    released_state["vproj_clip.weight"] = torch.zeros(3, 3)
    del released_state["weight_token"]
    released_state["decoder.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        load_released_state(model, released_state, "some.ckpt")
    message = str(caught.value)
    assert message.startswith("some.ckpt does not fit the model")
    assert "no weight for mixing_token" in message
    assert "decoder.weight is not part of the model" in message
    assert "alignment.weight has shape (3, 3), the settings say (16, 16)" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


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
    with pytest.raises(CheckpointError, match=r"evil\.ckpt: cannot be read as tensors only"):
        read_released_file(path)
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
