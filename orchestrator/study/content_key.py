"""The content key of a trial: equal keys mean equal results."""

import hashlib
import json
from typing import Any

from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import ADDED_SETTINGS, Settings, SpeedSettings, flat_settings

# 64 bits: among a million trials two share a key with a chance of 3 in 100 million.
_KEY_DIGITS = 16


def key_in(
    spec: SweepSpec, settings: Settings, data_fingerprint: str, results_version: int | None = None
) -> str:
    """The content key of a trial of a sweep, see `trial_key`."""
    workers = spec.resources.workers
    return trial_key(settings, data_fingerprint, spec.speed, workers, results_version)


def trial_key(
    settings: Settings,
    data_fingerprint: str,
    speed: SpeedSettings,
    workers: int = 1,
    results_version: int | None = None,
) -> str:
    """Hash of everything that changes a trial's result; equal keys need no second training.

    The seed is one of the settings. Some speed settings change numbers and therefore enter:
    threads, workers and the kind of device, by which sums are split and dropout is drawn, and
    micro-batches, precision and compilation. The others do not enter: which GPU, how often a
    checkpoint is written, the evaluation's blocks and batches made ahead. Nor does the git commit:
    most commits change no number, and those that do raise RESULTS_VERSION.

    Returns:
        16 hexadecimal digits.
    """
    content = {
        "results_version": results_version or RESULTS_VERSION,
        "settings": _identifying(settings),
        "data": data_fingerprint,
        "device": speed.device.partition(":")[0],
        "threads": speed.threads,
        **_unlike_default(speed, "precision", "compile", "micro_batch_videos"),
        **({"workers": workers} if workers > 1 else {}),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def _identifying(settings: Settings) -> dict[str, Any]:
    """All settings, less those that older versions lack where they change nothing."""
    default = flat_settings(Settings())
    return {
        path: value
        for path, value in flat_settings(settings).items()
        if path not in ADDED_SETTINGS or value != default[path]
    }


def _unlike_default(speed: SpeedSettings, *names: str) -> dict[str, Any]:
    """Settings that differ from their default, so that keys older than a setting stay valid."""
    fields = SpeedSettings.model_fields
    return {
        name: value for name in names if (value := getattr(speed, name)) != fields[name].default
    }
