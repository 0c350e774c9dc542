"""Encodes frames and sentences into their joint space, with any CLIP-like model of `transformers`.

A result depends on nothing but its own input: a sentence is encoded alone, so that a typed query
equals the store's row bit for bit, and frames are encoded in batches of one fixed shape.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from prvr_model.errors import DataError
from prvr_model.extraction.encoder_files import EncoderFiles, find_encoder
from prvr_model.store.recipe import FeatureRecipe

if TYPE_CHECKING:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

Precision: TypeAlias = Literal["float32", "bfloat16"]
Prepared: TypeAlias = Mapping[str, torch.Tensor]
"""Inputs of the image encoder by name, on the CPU; the first axis counts frames."""

# Frames of a batch. A GPU is full at some dozens of frames of ViT-B and larger; on a CPU larger
# batches gain nothing and only make the first result late.
_BATCH = {"cpu": 8, "cuda": 64}
# Sentences whose token ids identify a tokenizer: capitals, digits, marks, other alphabets.
_PROBES = ("A dog runs.", "two PEOPLE, 12 chairs", "été — 猫", "it's the end of a longer sentence")
# What changes pixels; other settings of image processors are names and types.
_PIXEL_SETTINGS = (
    "do_resize",
    "size",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
    "do_convert_rgb",
    "patch_size",
    "max_num_patches",
)


@dataclass(frozen=True)
class _Parts:
    """What `transformers` loads of one encoder."""

    model: Any
    tokenizer: Any
    image_processor: Any


class FeatureEncoder:
    """An encoder of frames and sentences; `load` makes one.

    Args:
        files: Where it was loaded from.
        parts: Model, tokenizer and image processor.
        device: Device of the model.
        precision: Number type of its weights and activations.
    """

    def __init__(
        self, files: EncoderFiles, parts: _Parts, device: str, precision: Precision
    ) -> None:
        self.device = torch.device(device)
        self.precision = precision
        self.frames_per_batch = _BATCH.get(self.device.type, _BATCH["cpu"])
        self._files = files
        self._parts = parts
        self._pads = str(parts.model.config.model_type).startswith("siglip")
        self.max_tokens = _max_tokens(parts)
        self._projection = _text_projection(parts.model)
        self._appends_pooled = not self._last_token_is_pooled()
        parts.model.to(self.device, getattr(torch, precision))

    @classmethod
    def load(
        cls, name_or_folder: str, device: str = "cpu", precision: Precision | None = None
    ) -> "FeatureEncoder":
        """Load an encoder from a folder, the Hugging Face cache, or else its hub.

        Args:
            name_or_folder: Folder, or name on the hub; of a folder or a cached one nothing is
                asked of the network.
            device: Device to encode on; `auto`: a GPU if there is one, else the CPU.
            precision: Number type; None: bfloat16 on GPUs, float32 elsewhere.

        Raises:
            DataError: It is nowhere, its weights are not safetensors or not whole, or it does not
                encode both images and texts.
        """
        files = find_encoder(name_or_folder)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise DataError(f"device {device}: torch finds no GPU here")
        return cls(files, _load_parts(files), device, precision or usual_precision(device))

    @cached_property
    def dim(self) -> int:
        """Dimension of the joint space."""
        return int(self.encode_captions([""])[0].shape[1])

    def recipe(self, frames_per_second: float) -> FeatureRecipe:
        """How features of this encoder are made, if frames are sampled at this rate."""
        return FeatureRecipe(
            encoder=self._files.name,
            architecture=type(self._parts.model).__name__,
            weights_sha256=self._files.weights_sha256(),
            preprocessing_sha256=self._preprocessing_sha256(),
            frames_per_second=frames_per_second,
            token_rows="final" if self._projection is None else "projected",
            sentence_row="pooled" if self._appends_pooled else "eos",
            max_tokens=self.max_tokens,
        )

    def encode_frames(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embed frames.

        Args:
            images: Frames, each (H, W, 3) uint8 RGB.

        Returns:
            (n, D) float32, projected into the joint space, not normalised.
        """
        return self.encode_prepared(self.prepare(images))

    def prepare(self, images: Sequence[np.ndarray]) -> Prepared:
        """Inputs of the image encoder; needs no GPU and may run in any thread."""
        from PIL import Image

        pictures = [Image.fromarray(image) for image in images]
        return dict(self._parts.image_processor(images=pictures, return_tensors="pt"))

    def encode_prepared(self, inputs: Prepared) -> np.ndarray:
        """Embed prepared frames, in batches of one shape whatever their number.

        Returns:
            (n, D) float32, see `encode_frames`.
        """
        count = len(next(iter(inputs.values())))
        batches = (
            {name: rows[start : start + self.frames_per_batch] for name, rows in inputs.items()}
            for start in range(0, count, self.frames_per_batch)
        )
        return np.concatenate([self.fetched(self.launch(batch)) for batch in batches])

    @torch.inference_mode()
    def launch(self, batch: Prepared) -> torch.Tensor:
        """Begin to embed at most `frames_per_batch` prepared frames; a GPU works on while we go on.

        Returns:
            (n, D) on the encoder's device, for `fetched`.
        """
        count = len(next(iter(batch.values())))
        full = {name: _filled(rows, self.frames_per_batch) for name, rows in batch.items()}
        return _pooled(self._parts.model.get_image_features(**self._on_device(full)))[:count]

    def fetched(self, features: torch.Tensor) -> np.ndarray:
        """The (n, D) float32 rows that `launch` began; waits for them."""
        rows: np.ndarray = features.float().cpu().numpy()
        return rows

    @cached_property
    def ignores_place(self) -> bool:
        """Whether a frame's row is the same, to the bit, at any place of a batch; tries it.

        It is where the products in the model add in one order for all rows, as usual.
        """
        random = np.random.default_rng(0)
        shape = (self.frames_per_batch, 64, 64, 3)
        inputs = self.prepare(list(random.integers(0, 256, shape, dtype=np.uint8)))
        order = np.arange(shape[0])[::-1].copy()
        moved = self.encode_prepared({name: rows[order] for name, rows in inputs.items()})
        return np.array_equal(moved, self.encode_prepared(inputs)[order])

    def _on_device(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kind = self._parts.model.dtype
        return {
            name: rows.to(self.device, kind if rows.is_floating_point() else rows.dtype)
            for name, rows in inputs.items()
        }

    def encode_captions(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encode sentences, each alone.

        Returns:
            (L, D) float32 for each: its tokens' final states in the joint space, cut at the
            tokenizer's limit; the last row is the sentence's embedding.
        """
        return [self._caption_rows(text) for text in texts]

    @torch.inference_mode()
    def _caption_rows(self, text: str) -> np.ndarray:
        tokens, pooled = self._text_outputs(text)
        if not self._appends_pooled:
            # Equal but for rounding, which differs between a product with one row and with many.
            tokens = tokens[:-1]
        rows: np.ndarray = torch.cat([tokens, pooled[None]]).float().cpu().numpy()
        return rows

    def _text_outputs(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Projected final states (L, D) of a sentence's own tokens, and its embedding (D,)."""
        inputs = self._tokens(text)
        valid = inputs["attention_mask"][0].bool()
        if self._pads:
            # SigLIP was trained on padding that its attention sees.
            del inputs["attention_mask"]
        model = self._parts.model
        inputs = self._on_device(inputs)
        features = model.get_text_features(**inputs)
        # transformers 4 returns the embedding alone.
        is_tensor = isinstance(features, torch.Tensor)
        states = (model.text_model(**inputs) if is_tensor else features).last_hidden_state[0]
        states = states[valid.to(states.device)]
        return states if self._projection is None else self._projection(states), _pooled(features)[
            0
        ]

    def _tokens(self, text: str) -> dict[str, torch.Tensor]:
        inputs = self._parts.tokenizer(
            text,
            padding="max_length" if self._pads else False,
            truncation=True,
            max_length=self.max_tokens,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}

    @torch.inference_mode()
    def _last_token_is_pooled(self) -> bool:
        """Whether the last token's row is the sentence's embedding, as with CLIP's [EOS]."""
        tokens, pooled = self._text_outputs(_PROBES[0])
        if tokens.shape[1] != len(pooled):
            raise DataError(
                f"encoder {self._files.name}: its tokens have {tokens.shape[1]} values, its "
                f"sentences {len(pooled)}, and {type(self._parts.model).__name__} has no text "
                "projection that is known here"
            )
        return bool(torch.allclose(tokens[-1], pooled, rtol=1e-3, atol=1e-5))

    def _preprocessing_sha256(self) -> str:
        settings = self._parts.image_processor.to_dict()
        content = {
            # Versions of `transformers` differ in whether they spell out what is not set.
            "pixels": {name: _plain(settings.get(name)) for name in _PIXEL_SETTINGS},
            # The files of one tokenizer differ between versions, what it makes does not.
            "tokens": [self._tokens(probe)["input_ids"].tolist() for probe in _PROBES],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def usual_precision(device: str) -> Precision:
    """Number type of an encoder on a device, if nobody chooses another."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def _load_parts(files: EncoderFiles) -> _Parts:
    import transformers
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    # Its bars and hints would stand between our lines.
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    # Pillow's pixels on each machine; torchvision's differ, and not every machine has it.
    is_old = int(transformers.__version__.split(".")[0]) < 5
    pillow = {"use_fast": False} if is_old else {"backend": "pil"}
    folder = str(files.folder)
    try:
        model, found = AutoModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, **pillow)
    except Exception as error:  # a damaged file raises whatever its reader raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"encoder {files.name}: {folder} cannot be loaded: {reason}") from error
    _refuse_unfit(files, model, found)
    _refuse_ragged(files, processor)
    return _Parts(model.eval(), tokenizer, processor)


def _refuse_unfit(files: EncoderFiles, model: torch.nn.Module, found: Mapping[str, Any]) -> None:
    lacking = [
        name
        for name in ("get_text_features", "get_image_features", "text_model")
        if not hasattr(model, name)
    ]
    if lacking:
        raise DataError(
            f"encoder {files.name}: {type(model).__name__} has no {', '.join(lacking)}; allowed: "
            "models with the interface of CLIPModel and SiglipModel"
        )
    # `transformers` fills them with random numbers and goes on.
    if missing := sorted(found["missing_keys"]):
        raise DataError(
            f"encoder {files.name}: {len(missing)} weights are missing in {files.folder}, the "
            f"first is {missing[0]}"
        )


def _refuse_ragged(files: EncoderFiles, processor: Any) -> None:  # noqa: ANN401
    """Refuse a processor whose images keep their shapes: batches hold frames of all videos."""
    pictures = [np.zeros(shape, np.uint8) for shape in ((48, 80, 3), (80, 48, 3))]
    shapes = {processor(images=[each])["pixel_values"][0].shape for each in pictures}
    if len(shapes) > 1:
        raise DataError(
            f"encoder {files.name}: its image processor makes wide images {shapes.pop()} and tall "
            f"ones {shapes.pop()}; set do_center_crop and crop_size in its preprocessor_config.json"
        )


def _max_tokens(parts: _Parts) -> int:
    positions = int(parts.model.config.text_config.max_position_embeddings)
    return min(positions, int(parts.tokenizer.model_max_length))


def _text_projection(model: torch.nn.Module) -> torch.nn.Linear | None:
    """The layer that leads a token's final state into the joint space; None: there is none."""
    for layer in (
        getattr(model, "text_projection", None),
        getattr(model.text_model, "head", None),
    ):
        if isinstance(layer, torch.nn.Linear):
            return layer
    return None


def _pooled(features: "torch.Tensor | BaseModelOutputWithPooling") -> torch.Tensor:
    """The embeddings among what `get_text_features` or `get_image_features` returns."""
    # transformers 4 returns them alone.
    pooled: torch.Tensor = (
        features if isinstance(features, torch.Tensor) else features.pooler_output
    )
    return pooled


def _filled(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The rows, with the last one repeated up to `count`."""
    missing = count - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: entry for name, entry in value.items() if entry is not None}
    return list(value) if isinstance(value, tuple) else value
