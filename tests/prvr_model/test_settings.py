"""Presets and derived sizes as published, dotted paths, and what is refused."""

import json
from typing import Any

import pytest

from prvr_model.errors import SettingsError
from prvr_model.settings import (
    PRESETS,
    Settings,
    build_settings,
    flat_settings,
    parse_settings,
    ratio_targets,
    setting_paths,
    spaced_levels,
)

# Preset -> dropout, mixing temperature, margin, InfoNCE weights, tau, learning rate.
PUBLISHED = {
    "tvr": (0.2, 0.09, 0.1, 0.05, 0.04, 0.8, 3e-4),
    "activitynet": (0.31, 0.6, 0.2, 0.02, 0.04, 0.8, 2.5e-4),
    "charades": (0.25, 0.6, 0.2, 0.02, 0.04, 0.85, 2e-4),
    "qvhighlights": (0.31, 0.6, 0.2, 0.02, 0.04, 0.7, 2.5e-4),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_the_published_values(preset: Any) -> None:  # noqa: ANN401
    found = build_settings(preset, {})
    model, losses, optimizer = found.model, found.losses, found.optimizer
    values = (
        model.dropout,
        model.mixing_temperature,
        losses.margin,
        losses.infonce_clip_weight,
        losses.infonce_frame_weight,
        losses.tau,
        optimizer.learning_rate,
    )
    assert values == PUBLISHED[preset]
    assert model.input_dropout == model.dropout


def test_every_preset_is_checked() -> None:
    assert set(PRESETS) == set(PUBLISHED)


def test_defaults_are_the_published_sizes() -> None:
    flat = flat_settings(Settings())
    wanted = {
        "model.hidden_size": 384,
        "model.num_heads": 4,
        "model.num_frames": 128,
        "model.num_clips": 32,
        "model.max_caption_tokens": 77,
        "model.num_scales": 8,
        "model.gaussian_widths": (None, 0.5, 1.0, 5.0, 10.0, 3.0, 0.1, 8.0),
        "model.clip_score_weight": 0.4,
        "model.frame_score_weight": 0.6,
        "model.initializer_std": 0.02,
        "losses.triplet_weight": 1.0,
        "losses.hard_negative_epoch": 20,
        "losses.hard_negative_pool": 20,
        "losses.tcpl_distance_weight": 15.0,
        "losses.tcpl_angle_weight": 30.0,
        "losses.cbva_weight": 0.1,
        "losses.cross_branch": "adaptive",
        "optimizer.beta1": 0.9,
        "optimizer.beta2": 0.999,
        "optimizer.epsilon": 1e-6,
        "optimizer.weight_decay": 0.01,
        "optimizer.warmup_share": 0.01,
        "optimizer.gradient_clip": 1.0,
        "optimizer.schedule_epochs": 100,
        "training.epochs": 100,
        "training.batch_videos": 128,
        "training.patience_epochs": 11,
    }
    assert {path: flat[path] for path in wanted} == wanted
    assert Settings().model.merge_targets == (80, 52, 32)
    assert Settings().segment_levels == (32, 20, 12, 8, 5)


@pytest.mark.parametrize("path", setting_paths())
def test_every_path_can_be_set_to_its_own_value(path: str) -> None:
    value = flat_settings(Settings())[path]
    assert build_settings(None, {path: value}) == Settings()
    as_json = json.loads(json.dumps(value))
    assert build_settings(None, {path: as_json}) == Settings()


def test_settings_survive_json() -> None:
    settings = build_settings("tvr", {"losses.levels": [32, 9, 4], "model.num_scales": 3})
    assert parse_settings(json.loads(settings.model_dump_json())) == settings


def test_an_override_wins_over_the_preset() -> None:
    assert build_settings("tvr", {"losses.margin": 0.3}).losses.margin == 0.3


REFUSED = [
    ({"losses.tua": 0.5}, "losses.tua", "Extra inputs"),
    ({"loses.tau": 0.5}, "loses", "Extra inputs"),
    ({"losses.tau": "0.5"}, "losses.tau", "number"),
    ({"losses.tau": True}, "losses.tau", "number"),
    ({"losses.tau": float("nan")}, "losses.tau", "finite"),
    ({"losses.tau": 1.5}, "losses.tau", "less than or equal to 1"),
    ({"model.num_clips": 32.0}, "model.num_clips", "integer"),
    ({"losses.cross_branch": "of"}, "losses.cross_branch", "'off', 'fixed' or 'adaptive'"),
    ({"model.hidden_size": 30}, "model", "hidden_size 30 is not a multiple of num_heads 4"),
    ({"model.num_clips": 200, "model.merge_ratio": 0.5}, "model", "exceeds num_frames 128"),
    ({"model.num_scales": 9}, "model", "num_scales 9 exceeds the 8 gaussian_widths"),
    ({"model.num_clips": 16}, "model", "set merge_ratio"),
    ({"model.merge_ratio": 0.5, "model.merge_schedule": [80, 52, 32]}, "model", "not both"),
    ({"model.merge_schedule": [60, 32]}, "model", "takes 128 tokens to 64..127, not to 60"),
    ({"model.merge_schedule": [80, 52]}, "model", "ends at 52, not at num_clips 32"),
    ({"model.num_clips": 16, "model.merge_ratio": 0.5}, "", "set losses.num_levels"),
    ({"losses.levels": [32, 20, 20]}, "", "must fall strictly"),
    ({"losses.levels": [30, 20]}, "", "must fall strictly from model.num_clips 32"),
    ({"losses.levels": []}, "", "must fall strictly"),
    ({"losses.num_levels": 3, "losses.levels": [32, 5]}, "", "not both"),
    ({"losses.num_levels": 3, "losses.smallest_level": 32}, "", "must be below"),
    ({"losses.num_levels": 31}, "", "use fewer levels"),
    ({"training.epochs": 101}, "", "learning rate would be negative"),
    ({"training.batch_videos": 1}, "training.batch_videos", "greater than or equal to 2"),
]


@pytest.mark.parametrize(("overrides", "path", "message"), REFUSED)
def test_refused_with_path_and_reason(overrides: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build_settings(None, overrides)
    assert [problem[0] for problem in caught.value.problems] == [path]
    assert message in caught.value.problems[0][1]


def test_all_problems_are_listed() -> None:
    with pytest.raises(SettingsError) as caught:
        build_settings(None, {"losses.tau": "x", "training.seed": -1, "model.depth": 2})
    paths = {path for path, _ in caught.value.problems}
    assert paths == {"losses.tau", "training.seed", "model.depth"}


def slow_targets(tokens: int, clips: int, ratio: float) -> list[int]:
    targets = []
    while tokens > clips:
        tokens -= max(1, min(tokens - clips, round(ratio * (tokens // 2))))
        targets.append(tokens)
    return targets


def test_merge_ratio() -> None:
    assert ratio_targets(128, 32, 0.75) == (80, 50, 32)
    assert ratio_targets(128, 32, 1.0) == (64, 32)
    assert ratio_targets(128, 32, 0.5) == (96, 72, 54, 40, 32)
    assert ratio_targets(17, 17, 0.5) == ()
    for clips in (2, 5, 16, 31, 48):
        for ratio in (0.01, 0.3, 0.5, 0.9, 1.0):
            assert list(ratio_targets(128, clips, ratio)) == slow_targets(128, clips, ratio)
            settings = {"model.num_clips": clips, "model.merge_ratio": ratio}
            build_settings(None, {**settings, "losses.cross_branch": "fixed"})


def test_levels() -> None:
    assert spaced_levels(32, 5, 5) == (32, 20, 12, 8, 5)
    assert spaced_levels(32, 1, 5) == (32,)
    assert spaced_levels(32, 2, 5) == (32, 5)
    assert spaced_levels(32, 3, 8) == (32, 16, 8)
    # 48 (5/48)^(1/3) = 22.58 and 48 (5/48)^(2/3) = 10.63.
    assert spaced_levels(48, 4, 5) == (48, 23, 11, 5)
    fixed = build_settings(None, {"losses.cross_branch": "fixed"})
    assert fixed.segment_levels == (32,)
