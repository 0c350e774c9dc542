"""Versions that are missing, outside their range or other than tested."""

import importlib.metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from orchestrator.preflight import check_packages as doctor_packages
from orchestrator.preflight.check_packages import (
    check_packages,
    compared_with_tested,
    read_constraints,
    wrong_packages,
    wrong_python,
)

RAY = Requirement("ray[default,tune]>=2.60,<3")


def test_what_is_asked_for_is_fine() -> None:
    assert {finding.level for finding in check_packages()} <= {"ok", "warning"}


def test_a_version_outside_the_range_is_a_problem_with_the_command_that_mends_it() -> None:
    (found,) = wrong_packages([RAY], {"ray": "2.40.0"}.get)
    assert (found.level, found.message) == ("problem", "ray: 2.40.0; needed: >=2.60,<3")
    assert found.remedy == "pip install -c constraints.txt 'ray[default,tune]<3,>=2.60'"


def test_a_missing_package_is_a_problem() -> None:
    (found,) = wrong_packages([RAY], {}.get)
    assert found.message.startswith("ray: not installed")


def test_another_version_than_tested_is_a_warning() -> None:
    found = compared_with_tested([RAY], {"ray": "2.60.0"}, {"ray": "2.61.0"}.get)
    assert found.level == "warning"
    assert "ray 2.61.0 (tested: 2.60.0)" in found.message
    assert compared_with_tested([RAY], {"ray": "2.60.0"}, {"ray": "2.60.0"}.get).level == "ok"


def test_how_a_wheel_was_built_is_no_other_version() -> None:
    torch = Requirement("torch>=2.6,<3")
    assert compared_with_tested(
        [torch], {"torch": "2.13.0"}, {"torch": "2.13.0+cpu"}.get
    ).level == ("ok")


def test_another_python() -> None:
    (found,) = wrong_python("3.9.1", ">=3.11")
    assert (found.level, found.message) == ("problem", "Python 3.9.1; needed: >=3.11")


def test_a_package_that_was_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_packages, "_DISTRIBUTION", "no-such-distribution")
    (found,) = check_packages()
    assert found.level == "problem"
    assert "make setup" in found.remedy


def test_constraints_of_the_checkout(tmp_path: Path) -> None:
    pinned = read_constraints(doctor_packages._CONSTRAINTS)
    assert pinned["optuna"] == importlib.metadata.version("optuna")
    assert read_constraints(tmp_path / "nowhere.txt") == {}
