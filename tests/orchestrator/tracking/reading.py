"""What an MLflow store holds of a sweep, read back for comparison."""

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect

DATA_SET = "builtin"
EXPERIMENT = "prvr-builtin"


def send(outbox: Outbox, store: TrackingStore) -> None:
    """Bring the store up to date, from where the outbox's reader is."""
    sender = mlflow_sender(outbox, store, DATA_SET)
    sender.start()
    assert sender.flush(120), sender.problem
    sender.stop()
    assert sender.problem is None


def replay(outbox: Outbox, store: TrackingStore) -> None:
    """Send everything again, as after the loss of the reader's position."""
    for position in outbox.path.parent.glob("*.position"):
        position.unlink()
    send(outbox, store)


def runs_of(store: TrackingStore, outbox: Outbox) -> dict[str, Run]:
    """Runs of the outbox's sweep by trial; the sweep's own under `sweep`."""
    client = connect(store)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    wanted = f"tags.`prvr.sweep_id` = '{outbox.identity}'"
    found = client.search_runs([experiment.experiment_id], wanted)
    runs = {run.data.tags.get("prvr.trial", "sweep"): run for run in found}
    assert len(runs) == len(found), "a run is there twice"
    return runs


def content_of(store: TrackingStore, outbox: Outbox) -> dict[str, Any]:
    """Everything that a run holds but its id, with the whole history of its metrics."""
    client = connect(store)
    return {trial: _content(client, run) for trial, run in runs_of(store, outbox).items()}


def _models(run: Run) -> list[tuple[str, int]]:
    """Models that are linked with a run, and their epochs, as often as they are linked."""
    outputs = run.outputs.model_outputs if run.outputs else []
    return sorted((output.model_id, output.step) for output in outputs)


def _content(client: MlflowClient, run: Run) -> dict[str, Any]:
    tags = {key: text for key, text in run.data.tags.items() if key != "mlflow.parentRunId"}
    history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "start": run.info.start_time,
        "end": run.info.end_time,
        "params": run.data.params,
        "tags": tags,
        "metrics": {
            key: sorted((row.step, row.timestamp, row.value) for row in rows)
            for key, rows in history.items()
        },
        "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        "data": [used.to_dictionary() for used in run.inputs.dataset_inputs],
        "models": _models(run),
    }
