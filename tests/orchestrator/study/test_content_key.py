"""Content keys change with whatever changes a result, and with nothing else."""

import hashlib
import json
from typing import Any

import pytest

from orchestrator.study import content_key
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import SpeedSettings, build_settings, flat_settings, setting_paths

OTHER: dict[str, Any] = {
    "model.clips": "uniform",
    "model.merge_schedule": (90, 50, 32),
    "model.merge_ratio": 0.5,
    "model.num_clips": 64,
    "model.num_frames": 127,
    "model.num_scales": 7,
    "model.gaussian_widths": (None, 0.5, 1.0, 5.0, 10.0, 3.0, 0.1, 9.0),
    "losses.hard_negative_epoch": None,
    "losses.cross_branch": "off",
    "losses.levels": (32, 8),
    "losses.num_levels": 4,
    "training.patience_epochs": None,
    "losses.ignore_relevant": True,
    "evaluation.relevance": "same_text",
    "evaluation.best_epoch_by": "verified/mAP",
}
# What else must change so that the settings can be built.
WITH: dict[str, dict[str, Any]] = {
    "model.num_clips": {"model.clips": "uniform", "losses.num_levels": 5},
    "model.num_frames": {"model.clips": "uniform"},
    "model.num_heads": {"model.hidden_size": 120},
    "model.hidden_size": {"model.num_heads": 1},
    "training.epochs": {"optimizer.schedule_epochs": 200},
}


def changed(path: str) -> Any:  # noqa: ANN401
    value = flat_settings(build_settings(None, {}))[path]
    if path in OTHER:
        return OTHER[path]
    return value + 1 if isinstance(value, int) else value / 2


@pytest.mark.parametrize("path", setting_paths())
def test_every_setting_changes_the_key(path: str) -> None:
    base = WITH.get(path, {})
    speed = SpeedSettings()
    before = content_key.trial_key(build_settings(None, base), "data", speed)
    after = content_key.trial_key(build_settings(None, base | {path: changed(path)}), "data", speed)
    assert before != after


def key(data: str = "data", **speed: Any) -> str:  # noqa: ANN401
    return content_key.trial_key(build_settings("tvr", {}), data, SpeedSettings(**speed))


def test_keys_of_speeds_that_change_numbers_are_all_different() -> None:
    speeds = [
        {"precision": precision, "compile": compiled}
        for precision in ("float32", "bfloat16")
        for compiled in (False, True)
    ]
    assert len({key(**speed) for speed in speeds}) == 4


def test_the_data_changes_the_key() -> None:
    assert key("one") != key("other")


@pytest.mark.parametrize(
    "speed",
    [
        {"threads": 2},
        {"device": "cuda"},
        {"precision": "bfloat16"},
        {"compile": True},
        {"micro_batch_videos": 8},
    ],
)
def test_speed_that_changes_numbers_changes_the_key(speed: dict[str, Any]) -> None:
    assert key(**speed) != key()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"checkpoint_every_epochs": 5}, {}),
        ({"evaluation_block": 7}, {}),
        ({"prefetch_batches": 2}, {}),
        # Named or left out, a default is the same.
        ({"precision": "float32", "compile": False}, {}),
        ({"device": "cuda:1"}, {"device": "cuda"}),
    ],
)
def test_speed_that_changes_none_does_not(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(**one) == key(**other)


def test_the_number_of_workers_changes_the_key() -> None:
    of_workers = [
        content_key.trial_key(build_settings("tvr", {}), "data", SpeedSettings(), workers)
        for workers in (1, 2, 3)
    ]
    assert len(set(of_workers)) == 3
    assert of_workers[0] == key()


def test_the_results_version_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(content_key, "RESULTS_VERSION", RESULTS_VERSION + 1)
    assert key() != before


def test_a_whole_number_is_the_same_setting_as_its_float() -> None:
    keys = {
        content_key.trial_key(build_settings(None, {"losses.margin": margin}), "", SpeedSettings())
        for margin in (1, 1.0)
    }
    assert len(keys) == 1


def test_the_key_is_stable() -> None:
    # Folders and studies of users carry keys: a change here makes all of them strangers. It is
    # right only together with a new RESULTS_VERSION, new settings or new defaults.
    small = {"model.hidden_size": 64, "training.epochs": 9}
    found = content_key.trial_key(build_settings("tvr", small), "0" * 64, SpeedSettings())
    assert found == key_by_hand(small)
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


def key_by_hand(overrides: dict[str, Any]) -> str:
    settings = flat_settings(build_settings("tvr", overrides))
    # Keys of trials that were trained before there were these settings stay what they were.
    del settings["losses.ignore_relevant"], settings["evaluation.best_epoch_by"]
    content = {
        "data": "0" * 64,
        "device": "cpu",
        "results_version": RESULTS_VERSION,
        "settings": settings,
        "threads": 1,
    }
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
