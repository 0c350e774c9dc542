"""Versions, packages and hardware, as results record them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base import machine


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of its own, so that the tests do not depend on the state of this one."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(machine, "_installed_version", lambda name: None)
    machine.code_version.cache_clear()
    yield tmp_path
    machine.code_version.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ("git", "-C", str(folder), *who, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_version_without_git(checkout: Path) -> None:
    assert machine.code_version() == "1.2.3"


def test_version_with_the_commit_of_a_checkout(checkout: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", "pyproject.toml")
    git(checkout, "commit", "-q", "-m", "one")
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    assert machine.code_version() == f"1.2.3+g{commit}"
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\n')
    machine.code_version.cache_clear()
    assert machine.code_version() == f"1.2.4+g{commit}.dirty"


def test_a_checkout_without_commits_has_its_version_only(checkout: Path) -> None:
    git(checkout, "init", "-q")
    assert machine.code_version() == "1.2.3"


def test_a_missing_git_is_no_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(checkout, "init", "-q")
    monkeypatch.setenv("PATH", "")
    assert machine.code_version() == "1.2.3"


def test_package_versions_are_those_installed() -> None:
    versions = machine.package_versions()
    assert {"python", "torch", "ray", "optuna", "mlflow", "pyarrow", "numpy"} <= set(versions)
    assert all(versions.values())


def test_absent_packages_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PACKAGES", ("numpy", "no-such-package"))
    machine.package_versions.cache_clear()
    assert set(machine.package_versions()) == {"python", "numpy"}
    machine.package_versions.cache_clear()


def test_hardware_is_json_without_a_gpu_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    machine.hardware.cache_clear()
    hardware = machine.hardware()
    machine.hardware.cache_clear()
    assert json.loads(json.dumps(hardware)) == hardware
    assert hardware["gpus"] == []
    assert hardware["cpus"] >= 1
    assert hardware["memory_bytes"] > 2**20
    assert hardware["cpu"]
