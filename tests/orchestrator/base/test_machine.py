"""Content keys change with whatever changes a result, and with nothing else."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base import provenance
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
    "evaluation.relevance": "same_text",
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
    before = provenance.trial_key(build_settings(None, base), "data", speed)
    after = provenance.trial_key(build_settings(None, base | {path: changed(path)}), "data", speed)
    assert before != after


def key(data: str = "data", **speed: Any) -> str:  # noqa: ANN401
    return provenance.trial_key(build_settings("tvr", {}), data, SpeedSettings(**speed))


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
        provenance.trial_key(build_settings("tvr", {}), "data", SpeedSettings(), workers)
        for workers in (1, 2, 3)
    ]
    assert len(set(of_workers)) == 3
    assert of_workers[0] == key()


def test_the_results_version_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(provenance, "RESULTS_VERSION", RESULTS_VERSION + 1)
    assert key() != before


def test_a_whole_number_is_the_same_setting_as_its_float() -> None:
    keys = {
        provenance.trial_key(build_settings(None, {"losses.margin": one}), "", SpeedSettings())
        for one in (1, 1.0)
    }
    assert len(keys) == 1


def test_the_key_is_stable() -> None:
    # Folders and studies of users carry keys: a change here makes all of them strangers. It is
    # right only together with a new RESULTS_VERSION, new settings or new defaults.
    small = {"model.hidden_size": 64, "training.epochs": 9}
    found = provenance.trial_key(build_settings("tvr", small), "0" * 64, SpeedSettings())
    assert found == key_by_hand(small)
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


def key_by_hand(overrides: dict[str, Any]) -> str:
    content = {
        "data": "0" * 64,
        "device": "cpu",
        "results_version": RESULTS_VERSION,
        "settings": flat_settings(build_settings("tvr", overrides)),
        "threads": 1,
    }
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of its own, so that the tests do not depend on the state of this one."""
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "orchestrator" / "provenance.py"))
    monkeypatch.setattr(provenance, "_installed_version", lambda name: None)
    provenance.code_version.cache_clear()
    yield tmp_path
    provenance.code_version.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ("git", "-C", str(folder), *who, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_version_without_git(checkout: Path) -> None:
    assert provenance.code_version() == "1.2.3"


def test_version_with_the_commit_of_a_checkout(checkout: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", "pyproject.toml")
    git(checkout, "commit", "-q", "-m", "one")
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    assert provenance.code_version() == f"1.2.3+g{commit}"
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\n')
    provenance.code_version.cache_clear()
    assert provenance.code_version() == f"1.2.4+g{commit}.dirty"


def test_a_checkout_without_commits_has_its_version_only(checkout: Path) -> None:
    git(checkout, "init", "-q")
    assert provenance.code_version() == "1.2.3"


def test_a_missing_git_is_no_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(checkout, "init", "-q")
    monkeypatch.setenv("PATH", "")
    assert provenance.code_version() == "1.2.3"


def test_package_versions_are_those_installed() -> None:
    versions = provenance.package_versions()
    assert {"python", "torch", "ray", "optuna", "mlflow", "pyarrow", "numpy"} <= set(versions)
    assert all(versions.values())


def test_absent_packages_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("numpy", "no-such-package"))
    provenance.package_versions.cache_clear()
    assert set(provenance.package_versions()) == {"python", "numpy"}
    provenance.package_versions.cache_clear()


def test_hardware_is_json_without_a_gpu_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    provenance.hardware.cache_clear()
    hardware = provenance.hardware()
    provenance.hardware.cache_clear()
    assert json.loads(json.dumps(hardware)) == hardware
    assert hardware["gpus"] == []
    assert hardware["cpus"] >= 1
    assert hardware["memory_bytes"] > 2**20
    assert hardware["cpu"]
