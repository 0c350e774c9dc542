"""What a model costs, against a real model and a real gallery."""

from pathlib import Path

import pytest
import torch

from prvr_model.inputs.prepared_split import prepare_split
from prvr_model.network.model import MscModel
from prvr_model.retrieval.costs import bytes_per_video, known_costs, ms_per_query, weights_of
from prvr_model.retrieval.gallery_format import read_gallery_manifest
from prvr_model.settings import ModelSettings
from prvr_model.store.reader import FeatureStore
from tests.benchmarks.made_gallery import made_settings, make_gallery
from tests.prvr_model.tiny import tiny_settings


@pytest.mark.parametrize(
    "settings",
    [
        ModelSettings(hidden_size=16, num_scales=3),
        ModelSettings(hidden_size=32, num_scales=1, num_clips=7, num_frames=21, merge_ratio=0.75),
        ModelSettings(hidden_size=24, num_scales=8, max_caption_tokens=11, num_heads=2),
    ],
    ids=["few scales", "one scale", "short captions"],
)
def test_weights_are_those_of_the_model(settings: ModelSettings) -> None:
    costs = known_costs(settings, video_dim=12, text_dim=10)
    assert costs["cost/parameters"] == weights_of(MscModel(settings, 12, 10))


def test_bytes_are_those_of_all_rows() -> None:
    settings = ModelSettings(hidden_size=16, num_scales=3)
    assert known_costs(settings, 12, 10)["cost/bytes_per_video"] == (32 + 128) * 16 * 5


def test_bytes_are_those_of_a_gallery(tmp_path: Path) -> None:
    settings = made_settings(96, 32, 128)
    make_gallery(tmp_path / "my.gallery", 300, settings, "float32", 10)
    manifest = read_gallery_manifest(tmp_path / "my.gallery")
    # Names and times are the rest.
    assert manifest.num_bytes / 300 == pytest.approx(bytes_per_video(settings.model), rel=0.05)


def test_a_query_is_timed_and_leaves_the_model_as_it_was(tiny_store: FeatureStore) -> None:
    settings = tiny_settings()
    manifest = tiny_store.manifest
    model = MscModel(settings.model, manifest.video_dim, manifest.text_dim)
    state = torch.get_rng_state()
    assert ms_per_query(model, prepare_split(tiny_store, "val", settings)) > 0
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
