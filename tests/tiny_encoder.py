"""Writes tiny encoders with random weights, in the files that real ones have."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoImageProcessor,
    AutoModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizerFast,
    PreTrainedModel,
    Siglip2Config,
    Siglip2Model,
)
from transformers.utils import logging

try:  # transformers 5 has a class for each way of processing images
    from transformers.models.clip.image_processing_pil_clip import (
        CLIPImageProcessorPil as ClipImages,
    )
    from transformers.models.siglip2.image_processing_pil_siglip2 import (
        Siglip2ImageProcessorPil as SiglipImages,
    )
except ImportError:
    from transformers import Siglip2ImageProcessor as SiglipImages

    ClipImages = CLIPImageProcessor

# It would tell a user of the demonstration what our tests need not.
logging.disable_progress_bar()
logging.set_verbosity_error()

CLIP_DIM = 24
SIGLIP_DIM = 32
_LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def write_tiny_clip(folder: Path, seed: int = 0, vision: Mapping[str, int] | None = None) -> Path:
    """Write a CLIP of 24 dimensions for images of 32 pixels; its tokens are bytes.

    Args:
        folder: Where to.
        seed: Seed of its weights.
        vision: Other sizes of its image encoder.
    """
    sizes = {**_LAYERS, "image_size": 32, "patch_size": 16, **(vision or {})}
    letters = sorted(ByteLevel.alphabet())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    end = len(vocabulary) - 1
    config = CLIPConfig(
        text_config=_LAYERS
        | {
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 77,
            "bos_token_id": end - 1,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config=sizes,
        projection_dim=CLIP_DIM,
        # Random weights of the usual size would make all images alike.
        initializer_factor=4.0,
    )
    _save(CLIPModel, config, folder, seed)
    ids = {token: number for number, token in enumerate(vocabulary)}
    CLIPTokenizerFast(vocab=ids, merges=[], model_max_length=77).save_pretrained(folder)
    side = sizes["image_size"]
    images = ClipImages(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    images.save_pretrained(folder)
    return folder


def write_tiny_siglip2(folder: Path, seed: int = 0) -> Path:
    """A SigLIP 2 of 32 dimensions for images of any shape; its tokens are bytes."""
    from transformers import Siglip2Tokenizer

    vocabulary = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    vocabulary += [f"<0x{byte:02X}>" for byte in range(256)]
    config = Siglip2Config(
        text_config=_LAYERS | {"vocab_size": len(vocabulary), "max_position_embeddings": 64},
        vision_config=_LAYERS | {"num_patches": 16, "patch_size": 16},
    )
    _save(Siglip2Model, config, folder, seed)
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Siglip2Tokenizer(
        vocab=ids, merges=[], model_max_length=64, padding_side="right", add_eos_token=True
    )
    tokenizer.save_pretrained(folder)
    SiglipImages(patch_size=16, max_num_patches=16).save_pretrained(folder)
    return folder


def direct_features(folder: Path, frames: list[np.ndarray]) -> np.ndarray:
    """Each frame alone, through the functions that the model's page shows."""
    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = []
    with torch.no_grad():
        for frame in frames:
            inputs = processor(images=Image.fromarray(frame), return_tensors="pt")
            rows.append(model.get_image_features(**inputs).pooler_output[0].numpy())
    return np.stack(rows)


def _save(
    kind: type[PreTrainedModel], config: CLIPConfig | Siglip2Config, folder: Path, seed: int
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)


def main() -> None:
    """Write the tiny CLIP into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    write_tiny_clip(parser.parse_args().folder)


if __name__ == "__main__":
    main()
