"""Installed packages against what the project asks for and what it was tested with."""

import importlib.metadata
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from orchestrator.base.our_code import ROOT
from orchestrator.preflight.finding import Finding, fine, problem, warning

Installed: TypeAlias = Callable[[str], str | None]
"""Version of a package by name; None: it is not there."""

_CHECK = "versions"
_DISTRIBUTION = "prvr-sweep"
_CONSTRAINTS = ROOT / "constraints.txt"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)")
# Of many packages that differ from the tested ones, the first few say enough.
_SHOWN = 6


def check_packages() -> list[Finding]:
    """Python and the packages that prvr-sweep asks for, as they are installed here."""
    try:
        asked = importlib.metadata.requires(_DISTRIBUTION) or []
        python = importlib.metadata.metadata(_DISTRIBUTION)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return [
            problem(
                _CHECK,
                f"{_DISTRIBUTION} itself is not installed, so what it asks for is not known",
                "run `make setup`, or `pip install -c constraints.txt .` in the checkout",
            )
        ]
    requirements = [
        requirement for requirement in map(Requirement, asked) if _is_for_users(requirement)
    ]
    wrong = [*wrong_python(platform.python_version(), python or ""), *wrong_packages(requirements)]
    if wrong:
        return wrong
    return [compared_with_tested(requirements, read_constraints(_CONSTRAINTS))]


def wrong_python(version: str, allowed: str) -> list[Finding]:
    """A Python that the project does not run on."""
    if SpecifierSet(allowed).contains(version, prereleases=True):
        return []
    remedy = f"make an environment with Python {allowed}: `make setup PYTHON=python3.11`"
    return [problem(_CHECK, f"Python {version}; needed: {allowed}", remedy)]


def wrong_packages(
    requirements: Sequence[Requirement], installed: Installed | None = None
) -> list[Finding]:
    """Packages that are missing or outside the range that the project asks for."""
    find = installed or installed_version
    findings = []
    for requirement in requirements:
        version = find(requirement.name)
        if version is not None and requirement.specifier.contains(version, prereleases=True):
            continue
        found = "not installed" if version is None else version
        remedy = f"pip install -c constraints.txt '{requirement}'"
        message = f"{requirement.name}: {found}; needed: {_range(requirement.specifier)}"
        findings.append(problem(_CHECK, message, remedy))
    return findings


def compared_with_tested(
    requirements: Sequence[Requirement],
    tested: Mapping[str, str],
    installed: Installed | None = None,
) -> Finding:
    """Packages within their range, against the versions that the tests ran with."""
    find = installed or installed_version
    others = []
    for requirement in requirements:
        version, known = find(requirement.name), tested.get(canonicalize_name(requirement.name))
        if known is not None and version is not None and _public(version) != known:
            others.append(f"{requirement.name} {version} (tested: {known})")
    if not others:
        return fine(_CHECK, f"{len(requirements)} packages as prvr-sweep asks for them")
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return warning(
        _CHECK,
        f"within their ranges, but other than tested: {', '.join(others[:_SHOWN])}{more}",
        "pip install -c constraints.txt prvr-sweep, where something does not work",
    )


def read_constraints(path: Path) -> dict[str, str]:
    """Exact versions by package; none where the file is not there, as in an installed wheel."""
    if not path.exists():
        return {}
    found = map(_PINNED.match, path.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(pin[1]): pin[2] for pin in found if pin}


def installed_version(name: str) -> str | None:
    """Version of an installed package; None: it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def allowed_range(package: str) -> SpecifierSet:
    """Versions of a package that prvr-sweep asks for; all where that is not known."""
    try:
        asked = map(Requirement, importlib.metadata.requires(_DISTRIBUTION) or [])
        return next(
            (requirement.specifier for requirement in asked if requirement.name == package),
            SpecifierSet(),
        )
    except importlib.metadata.PackageNotFoundError:
        return SpecifierSet()


def _is_for_users(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _range(specifier: SpecifierSet) -> str:
    return ",".join(sorted(map(str, specifier), reverse=True)) or "any version"


def _public(version: str) -> str:
    # Wheels of torch say how they were built: 2.13.0+cpu.
    return version.partition("+")[0]
