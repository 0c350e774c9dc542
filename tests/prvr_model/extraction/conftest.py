"""Tiny encoders, written once."""

from pathlib import Path

import pytest

from prvr_model.extraction.encoder import FeatureEncoder
from tests.tiny_encoder import write_tiny_clip, write_tiny_siglip2


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("encoders") / "tiny-clip")


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_siglip2(tmp_path_factory.mktemp("encoders") / "tiny-siglip2")


@pytest.fixture(scope="session")
def clip(clip_folder: Path) -> FeatureEncoder:
    return FeatureEncoder.load(str(clip_folder))


@pytest.fixture(scope="session")
def siglip(siglip_folder: Path) -> FeatureEncoder:
    return FeatureEncoder.load(str(siglip_folder))
