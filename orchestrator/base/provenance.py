"""Where a result comes from: its content key, the code, the packages and the machine."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import psutil

from orchestrator.base.our_code import ROOT
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import Settings, SpeedSettings, flat_settings

VERSION_FILE = "code_version.txt"
"""Beside packages that were sent somewhere: the version of the checkout they come from."""

# 64 bits: among a million trials two share a key with a chance of 3 in 100 million.
_KEY_DIGITS = 16
_PACKAGES = (
    "prvr-sweep",
    "torch",
    "ray",
    "optuna",
    "mlflow",
    "pyarrow",
    "numpy",
    "pydantic",
    "safetensors",
    "transformers",
)
# A hung git or driver must not hold up a sweep for a line of information.
_COMMAND_TIMEOUT_S = 5.0


def trial_key(
    settings: Settings,
    data_fingerprint: str,
    speed: SpeedSettings,
    workers: int = 1,
    results_version: int | None = None,
) -> str:
    """Hash of everything that changes a trial's result; equal keys need no second training.

    The seed is one of the settings. Of what is meant to change only speed, threads, workers and
    the kind of device enter, since sums are split by them and dropout is drawn by them, and so do
    micro-batches, precision and compilation; which GPU, how often a checkpoint is written, the
    evaluation's blocks and batches made ahead change no number. The git commit does not enter
    either: most commits change no number, and those that do raise RESULTS_VERSION.

    Returns:
        16 hexadecimal digits.
    """
    content = {
        "results_version": results_version or RESULTS_VERSION,
        "settings": flat_settings(settings),
        "data": data_fingerprint,
        "device": speed.device.partition(":")[0],
        "threads": speed.threads,
        **_unlike_default(speed, "precision", "compile", "micro_batch_videos"),
        **({"workers": workers} if workers > 1 else {}),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def _unlike_default(speed: SpeedSettings, *names: str) -> dict[str, Any]:
    """Settings that are not at their default: keys made before there were these stay valid."""
    fields = SpeedSettings.model_fields
    return {
        name: value for name in names if (value := getattr(speed, name)) != fields[name].default
    }


@functools.cache
def code_version() -> str:
    """Version of the package and, in a checkout, the commit, e.g. `0.1.0+g1a2b3c4d5e6f.dirty`."""
    if (ROOT / VERSION_FILE).exists():
        return (ROOT / VERSION_FILE).read_text(encoding="utf-8")
    version = _installed_version("prvr-sweep") or _project_version(ROOT / "pyproject.toml")
    if not (ROOT / ".git").exists():
        return version
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if not commit:
        return version
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{version}{'.' if '+' in version else '+'}g{commit}{'.dirty' if changed else ''}"


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of each package that can change a number; absent ones left out."""
    found = {name: _installed_version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version is not None},
    }


@functools.cache
def hardware() -> dict[str, Any]:
    """The machine in a few words, asked without loading torch."""
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": available_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpu_names(),
    }


def available_cpus() -> int:
    """CPUs that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _project_version(project: Path) -> str:
    # Run from a checkout that was never installed.
    if not project.exists():
        return "unknown"
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()


def _output(*command: str) -> str:
    """Standard output of a command; empty where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
