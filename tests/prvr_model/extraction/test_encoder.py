"""Features equal those of the model's own functions, and depend on nothing but their input."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from prvr_model.errors import DataError
from prvr_model.extraction.encoder import FeatureEncoder
from tests.tiny_encoder import direct_features, write_tiny_clip

TEXTS = ["A dog runs.", "", "two people " * 40, "été 猫"]


def images(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = [(48 + 7 * number, 64, 3) for number in range(count)]
    return [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_frames_equal_those_of_the_model_itself(kind: str, request: pytest.FixtureRequest) -> None:
    frames = images(11)
    encoder: FeatureEncoder = request.getfixturevalue(kind)
    expected = direct_features(request.getfixturevalue(f"{kind}_folder"), frames)
    np.testing.assert_allclose(encoder.encode_frames(frames), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_frames_row_does_not_depend_on_its_batch(
    kind: str, request: pytest.FixtureRequest
) -> None:
    encoder: FeatureEncoder = request.getfixturevalue(kind)
    frames = images(11)
    together = encoder.encode_frames(frames)
    np.testing.assert_array_equal(together[3:], encoder.encode_frames(frames[3:]))
    np.testing.assert_array_equal(together[3:4], encoder.encode_frames(frames[3:4]))


def test_clips_caption_ends_in_its_eos_row(clip: FeatureEncoder, clip_folder: Path) -> None:
    model = AutoModel.from_pretrained(clip_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    for text, rows in zip(TEXTS, clip.encode_captions(TEXTS), strict=True):
        inputs = tokenizer(text, truncation=True, max_length=77, return_tensors="pt")
        assert inputs["input_ids"][0, -1] == tokenizer.eos_token_id
        with torch.no_grad():
            outputs = model.get_text_features(**inputs)
            tokens = model.text_projection(outputs.last_hidden_state[0])
        np.testing.assert_array_equal(rows[-1], outputs.pooler_output[0])
        np.testing.assert_allclose(rows, tokens, rtol=1e-4, atol=1e-5)


def test_siglips_pooled_vector_follows_its_tokens(
    siglip: FeatureEncoder, siglip_folder: Path
) -> None:
    model = AutoModel.from_pretrained(siglip_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(siglip_folder)
    for text, rows in zip(TEXTS, siglip.encode_captions(TEXTS), strict=True):
        inputs = tokenizer(
            text, padding="max_length", truncation=True, max_length=64, return_tensors="pt"
        )
        with torch.no_grad():
            outputs = model.get_text_features(input_ids=inputs["input_ids"])
            tokens = model.text_model.head(outputs.last_hidden_state[0])
        valid = inputs["attention_mask"][0].bool()
        assert len(rows) == int(valid.sum()) + 1
        np.testing.assert_array_equal(rows[-1], outputs.pooler_output[0])
        np.testing.assert_allclose(rows[:-1], tokens[valid], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_query_typed_alone_equals_the_stores_row(
    kind: str, request: pytest.FixtureRequest
) -> None:
    encoder: FeatureEncoder = request.getfixturevalue(kind)
    together = encoder.encode_captions([*TEXTS, *reversed(TEXTS)])
    for text, rows in zip([*TEXTS, *reversed(TEXTS)], together, strict=True):
        np.testing.assert_array_equal(encoder.encode_captions([text])[0], rows)


class _OldModel:
    """Returns what transformers 4 returned: tensors."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def get_text_features(self, **inputs: torch.Tensor) -> torch.Tensor:
        return self._model.get_text_features(**inputs).pooler_output

    def get_image_features(self, **inputs: torch.Tensor) -> torch.Tensor:
        return self._model.get_image_features(**inputs).pooler_output


def test_the_return_values_of_transformers_4_give_the_same_rows(
    clip: FeatureEncoder, clip_folder: Path
) -> None:
    old = FeatureEncoder.load(str(clip_folder))
    parts = old._parts
    old._parts = SimpleNamespace(**vars(parts) | {"model": _OldModel(parts.model)})
    np.testing.assert_array_equal(old.encode_frames(images(2)), clip.encode_frames(images(2)))
    for rows, expected in zip(old.encode_captions(TEXTS), clip.encode_captions(TEXTS), strict=True):
        np.testing.assert_array_equal(rows, expected)


def test_a_recipe_tells_encoders_apart(
    clip: FeatureEncoder, siglip: FeatureEncoder, tmp_path: Path
) -> None:
    recipe = clip.recipe(3.0)
    assert (recipe.encoder, recipe.architecture) == ("tiny-clip", "CLIPModel")
    assert (recipe.sentence_row, recipe.token_rows, recipe.max_tokens) == ("eos", "projected", 77)
    assert (siglip.recipe(3.0).sentence_row, siglip.recipe(3.0).max_tokens) == ("pooled", 64)
    other = FeatureEncoder.load(str(write_tiny_clip(tmp_path / "tiny-clip", seed=1)))
    assert [line.split(":")[0] for line in recipe.differences(other.recipe(3.0))] == [
        "weights_sha256"
    ]


def changed_copy(folder: Path, target: Path, file: str, **values: object) -> Path:
    shutil.copytree(folder, target)
    content = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps(content | values))
    return target


def test_a_recipe_knows_how_images_are_prepared(
    clip: FeatureEncoder, clip_folder: Path, tmp_path: Path
) -> None:
    folder = changed_copy(
        clip_folder, tmp_path / "tiny-clip", "preprocessor_config.json", image_mean=[0, 0, 0]
    )
    found = FeatureEncoder.load(str(folder)).recipe(3.0).differences(clip.recipe(3.0))
    assert [line.split(":")[0] for line in found] == ["preprocessing_sha256"]


def test_an_unknown_name_says_where_to_put_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"someone/unknown is no folder here.*give that folder"):
        FeatureEncoder.load("someone/unknown")


def test_pickled_weights_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    shutil.copy(clip_folder / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(DataError, match=r"has no \*\.safetensors file"):
        FeatureEncoder.load(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(DataError, match=r"has no config\.json"):
        FeatureEncoder.load(str(tmp_path))


def test_missing_weights_are_refused_not_drawn(clip_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(clip_folder, tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"1 weights are missing.*text_projection.weight"):
        FeatureEncoder.load(str(folder))


def test_a_damaged_file_is_one_line(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "cut")
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(DataError, match=r"cut: .* cannot be loaded: [^\n]+$"):
        FeatureEncoder.load(str(folder))


def test_models_of_another_kind_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    shutil.copytree(clip_folder, tmp_path / "bert")
    BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=9)).save_pretrained(
        tmp_path / "bert"
    )
    with pytest.raises(DataError, match="BertModel has no get_text_features, get_image_features"):
        FeatureEncoder.load(str(tmp_path / "bert"))
