"""Evaluations in MLflow: a run each, in an experiment of their own."""

from orchestrator.tracking.evaluation_runs import EXPERIMENT, EvaluationRun, log_evaluations
from orchestrator.tracking.run_change import DataRecord
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect


def test_each_evaluation_is_a_finished_run_of_one_experiment(store: TrackingStore) -> None:
    data = DataRecord("tvr", "f" * 64, "/data/tvr.store")
    runs = [
        EvaluationRun(f"{model} on tvr", {"model": model}, {"own/SumR": value}, data)
        for model, value in (("frozen", 167.2), ("a/1", 263.1))
    ]
    ids = log_evaluations(store, runs, 1000) + log_evaluations(store, runs[:1], 2000)
    client = connect(store)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment.artifact_location == f"{store.artifact_root}/{EXPERIMENT}"
    found = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    assert set(found) == set(ids)
    assert len(ids) == 3
    own = found[ids[1]]
    assert (own.info.status, own.info.start_time, own.info.end_time) == ("FINISHED", 1000, 1000)
    assert own.data.metrics == {"own/SumR": 263.1}
    assert own.data.tags["prvr.model"] == "a/1"
    assert own.data.tags["prvr.role"] == "evaluation"
    assert own.data.tags["prvr.data_fingerprint"] == "f" * 64
    [listed] = own.inputs.dataset_inputs
    assert listed.dataset.name == "tvr"
    assert [(tag.key, tag.value) for tag in listed.tags] == [("mlflow.data.context", "evaluation")]


def test_a_deleted_experiment_is_restored(store: TrackingStore) -> None:
    run = EvaluationRun("frozen", {}, {"own/SumR": 1.0}, DataRecord("tvr", "f" * 64, "/data/tvr"))
    first = log_evaluations(store, [run], 1000)
    client = connect(store)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    client.delete_experiment(experiment)
    second = log_evaluations(store, [run], 2000)
    found = client.search_runs([experiment])
    assert {each.info.run_id for each in found} == {*first, *second}
