"""Versions of code and packages, as results record them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base import installation


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of its own, so that the tests do not depend on the state of this one."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    monkeypatch.setattr(installation, "_installed_version", lambda name: None)
    installation.code_version.cache_clear()
    yield tmp_path
    installation.code_version.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ("git", "-C", str(folder), *who, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_version_without_git(checkout: Path) -> None:
    assert installation.code_version() == "1.2.3"


def test_version_with_the_commit_of_a_checkout(checkout: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", "pyproject.toml")
    git(checkout, "commit", "-q", "-m", "one")
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    assert installation.code_version() == f"1.2.3+g{commit}"
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\n')
    installation.code_version.cache_clear()
    assert installation.code_version() == f"1.2.4+g{commit}.dirty"


def test_a_checkout_without_commits_has_its_version_only(checkout: Path) -> None:
    git(checkout, "init", "-q")
    assert installation.code_version() == "1.2.3"


def test_a_missing_git_is_no_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(checkout, "init", "-q")
    monkeypatch.setenv("PATH", "")
    assert installation.code_version() == "1.2.3"


def test_package_versions_are_those_installed() -> None:
    versions = installation.package_versions()
    assert {"python", "torch", "ray", "optuna", "mlflow", "pyarrow", "numpy"} <= set(versions)
    assert all(versions.values())


def test_absent_packages_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_PACKAGES", ("numpy", "no-such-package"))
    installation.package_versions.cache_clear()
    assert set(installation.package_versions()) == {"python", "numpy"}
    installation.package_versions.cache_clear()
