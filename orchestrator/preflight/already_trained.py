"""How many of a sweep's trials need no training, as far as that is known before it starts."""

from pathlib import Path
from typing import Any

from orchestrator.spec.data import known_fingerprint
from orchestrator.spec.search_space import grid_points, resolve
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.content_key import key_in
from orchestrator.study.planned_trials import runs_of
from prvr_model.errors import SettingsError


def known_runs(spec: SweepSpec, home: Path, storage: str | None) -> int:
    """How many runs of an ablation or points of a grid are complete already, or asked for twice.

    Trials that a sampler will draw and those of later rounds are not known before they start.

    Args:
        spec: The sweep.
        home: Its home folder, absolute.
        storage: URI or absolute path of its trial folders; None means the home.

    Raises:
        StoreError: The store is missing or damaged.
        StorageError: The storage cannot be read.
    """
    parameters = _parameters(spec) if spec.reuse else []
    if not parameters:
        return 0
    fingerprint = known_fingerprint(spec.data, home)
    keys = [_key(spec, trial, fingerprint or "") for trial in parameters]
    known = _known_keys(home, storage) if fingerprint else set()
    return len(keys) - len(set(keys) - known)


def _parameters(spec: SweepSpec) -> list[dict[str, Any]]:
    """Parameters of the trials that are certain to come."""
    if spec.search is not None:
        return grid_points(spec) if spec.search.sampler == "grid" else []
    seeds = {row.name: spec.seeds() for row in spec.rows}
    return [run.parameters for run in runs_of(spec.rows, seeds)]


def _key(spec: SweepSpec, parameters: dict[str, Any], fingerprint: str) -> str:
    """Content key of a trial; for invalid settings a key that no other trial has."""
    try:
        return key_in(spec, resolve(spec, parameters), fingerprint)
    except SettingsError:
        return repr(parameters)


def _known_keys(home: Path, storage: str | None) -> set[str]:
    if storage is None and not home.is_dir():
        return set()
    # Optuna takes long to import, and most plans need none of it.
    from orchestrator.study.reuse import known_keys
    from orchestrator.study.storage import complete_trials, study_url

    return known_keys(storage or str(home), complete_trials(study_url(home)))
