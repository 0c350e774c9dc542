"""A store whose captions a tiny CLIP encoded, a model for it, and its gallery."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.serving.building import build_gallery
from orchestrator.serving.models import FoundModel
from orchestrator.serving.sources import StoreSource
from prvr_model.extraction.encoder import FeatureEncoder
from prvr_model.store.writer import StoreWriter
from tests.benchmarks.made_gallery import export_random, made_settings
from tests.tiny_encoder import CLIP_DIM, write_tiny_clip

SENTENCES = ("a dog runs", "two people cook", "she opens the fridge", "rain on a window", "a goal")
RATE = 2.0


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("encoders") / "tiny-clip")


@pytest.fixture(scope="session")
def other_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("encoders") / "other-clip", seed=1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> FoundModel:
    settings = made_settings(16, 4, 8)
    folder = tmp_path_factory.mktemp("models") / "export"
    return FoundModel(export_random(folder, settings, CLIP_DIM, CLIP_DIM), "models:/made/3")


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Path:
    path = tmp_path_factory.mktemp("stores") / "sentences.store"
    encoder = FeatureEncoder.load(str(encoder_folder))
    return write_store(path, encoder, 20)


def write_store(path: Path, encoder: FeatureEncoder, videos: int, prefix: str = "v") -> Path:
    """A store of random videos with sentences that the encoder encoded, half of them timed."""
    rng = np.random.default_rng(videos)
    writer = StoreWriter(
        path,
        name="sentences",
        video_dim=CLIP_DIM,
        text_dim=CLIP_DIM,
        source={},
        recipe=encoder.recipe(RATE),
        seconds_per_row=1 / RATE,
    )
    with writer:
        for number in range(videos):
            rows = rng.standard_normal((6 + number, CLIP_DIM)).astype(np.float32)
            name, split = f"{prefix}{number}", ("val", "test")[number % 2]
            writer.add_video(split, name, rows, len(rows) / RATE + 0.25)
            sentence = f"{SENTENCES[number % 5]} {number}"
            tokens = encoder.encode_captions([sentence])[0]
            writer.add_caption(split, f"{name}#0", name, sentence, tokens)
        writer.add_video("train", f"{prefix}x", rng.standard_normal((4, CLIP_DIM)))
        writer.add_caption("train", f"{prefix}x#0", f"{prefix}x", "x", tokens)
    return path


@pytest.fixture(scope="session")
def gallery_path(
    tmp_path_factory: pytest.TempPathFactory, store_path: Path, model: FoundModel
) -> Path:
    path = tmp_path_factory.mktemp("galleries") / "val.gallery"
    build_gallery(model, StoreSource.open(store_path, "val"), path, "float32")
    return path
