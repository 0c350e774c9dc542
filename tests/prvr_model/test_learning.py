"""The method learns: planted events, from chance to high recall in a few epochs."""

from pathlib import Path

import pytest
import torch

from prvr_model.files.folder import Folder
from prvr_model.inputs.prepared_split import prepare_split
from prvr_model.network.model import MscModel
from prvr_model.reporting import Decision
from prvr_model.retrieval.evaluation import build_relevance, evaluate
from prvr_model.settings import Settings, SpeedSettings, build_settings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from prvr_model.training.train_loop import train

# Every event is its own, text and frames see it alike, hardly any noise.
EASY = SyntheticSettings(
    train_videos=160,
    val_videos=40,
    test_videos=1,
    video_dim=24,
    text_dim=24,
    event_dim=8,
    event_pool=400,
    detail=1.0,
    gap=0.0,
    background=0.0,
    unrelated=0.0,
    frame_noise=0.1,
    token_noise=0.1,
    paraphrase_noise=0.05,
    max_frames=40,
)


def easy_settings(**changes: object) -> Settings:
    values: dict[str, object] = {
        "model.hidden_size": 32,
        "model.num_frames": 32,
        "model.num_clips": 16,
        "model.merge_ratio": 0.75,
        "model.num_scales": 2,
        "model.dropout": 0.0,
        "model.input_dropout": 0.0,
        "losses.num_levels": 3,
        "losses.smallest_level": 3,
        "training.batch_videos": 16,
        "training.epochs": 10,
        "optimizer.schedule_epochs": 10,
        "optimizer.learning_rate": 3e-3,
        "optimizer.warmup_share": 0.1,
    }
    values.update({name.replace("__", "."): value for name, value in changes.items()})
    return build_settings(None, values)


@pytest.fixture(scope="module")
def easy_store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    path = tmp_path_factory.mktemp("easy") / "easy.store"
    write_synthetic(path, EASY)
    return FeatureStore.open(path)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="full"),
        pytest.param(
            {"losses__cross_branch": "off", "losses__hard_negative_epoch": 3},
            id="hard negatives",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_recall_rises_from_chance(
    easy_store: FeatureStore, tmp_path: Path, changes: dict[str, object]
) -> None:
    settings = easy_settings(**changes)
    split = prepare_split(easy_store, "val", settings)
    relevance = build_relevance(easy_store.split("val"), settings.evaluation)
    before = evaluate(MscModel(settings.model, 24, 24), split, relevance, SpeedSettings())
    # Chance among 40 videos: R@1 2.5, R@5 12.5.
    assert before.metrics["R1"] < 10
    assert before.metrics["R5"] < 30
    folder = Folder.open(tmp_path / "trial")
    result = train(settings, easy_store, folder, lambda _: Decision.CONTINUE)
    after = result.reports[-1].metrics
    assert after["val/R1"] > 80
    assert after["val/R5"] > 95
    assert after["val/clip/R1"] > 60
    assert after["val/frame/R1"] > 60
    assert after["train/total"] < result.reports[0].metrics["train/total"] / 2


@pytest.mark.soak
def test_it_learns_with_encoders_in_bfloat16(easy_store: FeatureStore, tmp_path: Path) -> None:
    folder, speed = Folder.open(tmp_path / "trial"), SpeedSettings(precision="bfloat16")
    result = train(easy_settings(), easy_store, folder, lambda _: Decision.CONTINUE, speed)
    first, last = result.reports[0].metrics, result.reports[-1].metrics
    assert last["val/R1"] > 80
    assert last["val/R5"] > 95
    assert last["train/total"] < first["train/total"] / 2


def test_text_correlation_alone_brings_queries_to_the_teachers_relations(
    easy_store: FeatureStore, tmp_path: Path
) -> None:
    settings = easy_settings(
        losses__infonce_clip_weight=0.0,
        losses__infonce_frame_weight=0.0,
        losses__triplet_weight=0.0,
        losses__cross_branch="off",
        training__epochs=4,
        optimizer__learning_rate=1e-2,
    )
    folder = Folder.open(tmp_path / "trial")
    result = train(settings, easy_store, folder, lambda _: Decision.CONTINUE)
    first, last = result.reports[0].metrics, result.reports[-1].metrics
    assert last["train/tcpl_distance"] < 0.6 * first["train/tcpl_distance"]
    assert last["train/tcpl_angle"] < 0.6 * first["train/tcpl_angle"]
    assert torch.tensor(list(last.values())).isfinite().all()
