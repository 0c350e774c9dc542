"""All that a sweep left behind, less clocks, memory and names of places, for comparison."""

import hashlib
import json
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.study.study import study_url
from prvr_model.errors import PrvrError
from prvr_model.files.checkpoint_header import BEST, LAST
from prvr_model.files.folder import Folder
from prvr_model.network.model_file import read_tensors
from prvr_model.reporting import MEASURED

# Identity of an outbox, and of runs that MLflow names.
_IDENTITIES = ("prvr.sweep_id", "mlflow.parentRunId")


def content(home: Path, sweep: str) -> dict[str, Any]:
    """Study, checkpoints and MLflow runs, flat: a place to a value that JSON takes."""
    found = {"study": study_content(home, sweep), "mlflow": mlflow_content(home)}
    text = json.dumps(found, default=str).replace(str(home), "HOME")
    return dict(flat(json.loads(text)))


def flat(value: Any, path: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401
    """Leaves by path."""
    if isinstance(value, dict) and value:
        return [leaf for key, entry in value.items() for leaf in flat(entry, f"{path}/{key}")]
    return [(path, value)]


def study_content(home: Path, sweep: str) -> dict[str, Any]:
    study = optuna.load_study(study_name=sweep, storage=study_url(home))
    trials = {str(trial.number): trial_content(trial) for trial in study.trials}
    kept = ("spec_yaml", "state", "num_trials", "sampler", "pruner", "data_fingerprint", "metric")
    return {"trials": trials, **{key: study.user_attrs.get(key) for key in kept}}


def trial_content(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    attributes = dict(trial.user_attrs)
    log = attributes.pop("epochs", {"rows": [], "notes": {}})
    # When and where it began: once more after each resume.
    attributes.pop("work", None)
    return {
        "state": trial.state.name,
        "value": trial.value,
        "params": trial.params,
        "distributions": {key: str(value) for key, value in trial.distributions.items()},
        "intermediate": trial.intermediate_values,
        "attributes": attributes,
        "pruner": trial.system_attrs,
        "notes": log["notes"],
        "rows": [row[:3] for row in log["rows"]],
        "folder": folder_content(attributes.get("request", {}).get("folder", "")),
    }


def folder_content(folder: str) -> dict[str, Any]:
    """Rows of the checkpoint and a digest of each of its tensors."""
    if not folder:
        return {}
    place = Folder.open(folder)
    found: dict[str, Any] = {"ranks": place.child("ranks").names()}
    for name in (LAST, BEST):
        if place.exists(name):
            found[name] = _file_content(place, name)
    return found


def _file_content(place: Folder, name: str) -> dict[str, Any]:
    try:
        tensors, header = read_tensors(place, name)
    except PrvrError as error:
        return {"error": str(error)}
    rows = header.get("state", {}).pop("reports", [])
    return {
        "tensors": {key: _digest(value.numpy().tobytes()) for key, value in tensors.items()},
        "header": header,
        "rows": {str(row["epoch"]): _without_machine(row["metrics"]) for row in rows},
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _without_machine(metrics: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if not key.startswith(MEASURED)}


def mlflow_content(home: Path) -> dict[str, Any]:
    """Runs by trial; of two runs of one trial the names of both, which nothing equals."""
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    runs: dict[str, Any] = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            name = run.data.tags.get("prvr.trial", "sweep")
            name = f"{name} again" if name in runs else name
            runs[name] = run_content(client, run)
    return runs


def run_content(client: MlflowClient, run: Run) -> dict[str, Any]:
    history = {
        key: sorted(
            (row.step, row.value) for row in client.get_metric_history(run.info.run_id, key)
        )
        for key in run.data.metrics
        if not key.startswith(MEASURED)
    }
    tags = {key: value for key, value in run.data.tags.items() if key not in _IDENTITIES}
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "has_parent": "mlflow.parentRunId" in run.data.tags,
        "params": run.data.params,
        "tags": tags,
        "metrics": history,
        "files": {
            artifact.path: _file(client, run, artifact.path)
            for artifact in client.list_artifacts(run.info.run_id)
        },
    }


def _file(client: MlflowClient, run: Run, name: str) -> Any:  # noqa: ANN401
    text = Path(client.download_artifacts(run.info.run_id, name)).read_text()
    if name == "report.json":
        return _without_clocks(json.loads(text))
    if name.startswith("report."):
        # The numbers of report.json in words and pictures, with times of day in them.
        return len(text) > 0
    if name != "trials.json":
        return text
    table = json.loads(text)
    clock = table["columns"].index("seconds")
    return [[one for k, one in enumerate(row) if k != clock] for row in table["data"]]


def _without_clocks(report: Any) -> Any:  # noqa: ANN401
    """A report's numbers less where it is from, when, and what took how long."""
    clocks = ("provenance", "folder", "started_ms", "ended_ms", "seconds")
    if isinstance(report, list):
        return [_without_clocks(one) for one in report]
    if not isinstance(report, dict):
        return report
    return {
        key: _without_clocks(value)
        for key, value in report.items()
        if key not in clocks and not key.startswith(MEASURED)
    }
