"""Logs evaluations to MLflow: a run for each model on each split, in one experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.tracking.registry import reachable
from orchestrator.tracking.run_change import DataRecord
from orchestrator.tracking.store import TrackingStore, experiment_name
from orchestrator.tracking.tags import FINGERPRINT_TAG, ROLE_TAG

EXPERIMENT = experiment_name("evaluations")


@dataclass(frozen=True)
class EvaluationRun:
    """An evaluation as MLflow shows it.

    Args:
        name: Name of the run.
        tags: What identifies model and split, by name without our prefix.
        metrics: Values by name.
        data: The store.
    """

    name: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    data: DataRecord


def log_evaluations(
    store: TrackingStore, runs: Sequence[EvaluationRun], timestamp_ms: int
) -> list[str]:
    """Create a run for each evaluation; returns their ids. A deleted experiment is restored.

    Raises:
        TrackingOutageError: MLflow cannot be reached.
    """
    with reachable(store):
        from mlflow.entities import LifecycleStage, Metric, RunTag

        from orchestrator.tracking.found_runs import create_experiment
        from orchestrator.tracking.writer import connect, dataset_input

        client = connect(store)
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is None:
            experiment = create_experiment(client, EXPERIMENT, store.artifact_root)
        else:
            experiment = known.experiment_id
            if known.lifecycle_stage != LifecycleStage.ACTIVE:
                client.restore_experiment(experiment)
        ids = []
        for run in runs:
            made = client.create_run(experiment, timestamp_ms, run_name=run.name).info.run_id
            tags = {ROLE_TAG: "evaluation", FINGERPRINT_TAG: run.data.fingerprint}
            tags |= {f"prvr.{name}": value for name, value in run.tags.items()}
            client.log_batch(
                made,
                [Metric(name, value, timestamp_ms, 0) for name, value in run.metrics.items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )
            client.log_inputs(made, [dataset_input(run.data, "evaluation")])
            client.set_terminated(made, "FINISHED", timestamp_ms)
            ids.append(made)
        return ids
