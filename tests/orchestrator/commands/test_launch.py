"""The main job as a user runs it: real Ray, a real study, a real MLflow store."""

import json
import os
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow import MlflowClient

from orchestrator.base.home import locked_home
from orchestrator.tracking.store import settle_mlflow
from tests.orchestrator.command_line import TINY_SPACE, Done, prvr, prvr_cold

pytestmark = pytest.mark.integration

_FAILING = TINY_SPACE.replace("choices: [1e-3, 1e-2]", "choices: [1e-3, 1e+30]").replace(
    "name: tiny", "name: failing"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("launch")
    (path / "tiny.yaml").write_text(TINY_SPACE)
    (path / "failing.yaml").write_text(_FAILING)
    return path


@pytest.fixture(scope="module")
def launched(folder: Path) -> Done:
    return prvr_cold("launch", "tiny.yaml", "--json", cwd=folder)


@pytest.fixture(scope="module")
def client(folder: Path, launched: Done) -> MlflowClient:
    settle_mlflow()
    uri = f"sqlite:///{folder / 'prvr-runs' / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def test_launch_ends_with_one_line_of_json(folder: Path, launched: Done) -> None:
    assert launched.code == 0, launched.err
    (line,) = launched.out.splitlines()
    result = json.loads(line)
    assert result["trials"] == {"running": 0, "complete": 2, "pruned": 0, "failed": 0}
    assert result["tracking_uri"] == f"sqlite:///{folder / 'prvr-runs' / 'mlflow.db'}"
    assert result["storage"] == str(folder / "prvr-runs")
    assert (result["model"], result["version"]) == ("prvr-synthetic", "1")
    assert result["alias"] == "champion"
    assert result["parameters"].keys() == {"optimizer.learning_rate"}
    assert 0 < result["value"] <= 400
    assert result["test"]["SumR"] > 0


def test_stderr_holds_plan_and_progress_and_nothing_else(launched: Done) -> None:
    lines = [line for line in launched.err.splitlines() if line]
    # The last is told where the machine is so busy that processes take a minute to start.
    known = ("sweep tiny:", "  ", "warning: ", "0/2", "1/2", "2/2", "no trial has started for 60 s")
    assert [line for line in lines if not line.startswith(known)] == []
    assert lines[-1].startswith("2/2 trials")


def test_status_after_the_launch(folder: Path, launched: Done) -> None:
    done = prvr("status", "tiny", "--json", cwd=folder)
    assert done.code == 0, done.err
    status = json.loads(done.out)
    assert status["state"] == "finished"
    assert status["counts"]["complete"] == 2
    assert status["best"]["value"] == json.loads(launched.out)["value"]


def test_mlflow_shows_a_parent_with_a_child_per_trial(client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("prvr-synthetic")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert len(children) == 2
    for child in children:
        history = client.get_metric_history(child.info.run_id, "val/SumR")
        assert [row.step for row in history] == [1, 2]
        assert child.data.params["model.hidden_size"] == "8"
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parents[0].info.run_id


def test_champion_answers_with_unit_vectors(client: MlflowClient, folder: Path) -> None:
    version = client.get_model_version_by_alias("prvr-synthetic", "champion")
    mlflow.set_tracking_uri(client.tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/prvr-synthetic/{version.version}")
    tokens = np.random.default_rng(0).normal(size=(3, 5, 48)).astype(np.float32)
    queries = model.predict(tokens)
    assert queries.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)


def test_second_launch_of_a_sweep_is_refused_and_changes_nothing(
    folder: Path, launched: Done
) -> None:
    before = sorted(path for path in (folder / "prvr-runs" / "tiny").rglob("*"))
    done = prvr("launch", "tiny.yaml", cwd=folder)
    assert done.code == 2
    assert "sweep 'tiny' exists already" in done.err
    assert "2 complete" in done.err
    assert sorted(path for path in (folder / "prvr-runs" / "tiny").rglob("*")) == before


def test_failed_trials_end_no_sweep_and_exit_with_4(folder: Path, launched: Done) -> None:
    done = prvr("launch", "failing.yaml", "--executor", "inline", "--json", cwd=folder)
    assert done.code == 4, done.err
    result = json.loads(done.out)
    assert result["trials"]["failed"] == 1
    assert result["trials"]["complete"] == 1
    assert "NonFiniteError" in done.err
    # The same settings and seed reach the same value again, which is no better than it was.
    first = json.loads(launched.out)
    expected = "champion" if result["value"] > first["value"] else "candidate"
    assert result["alias"] == expected
    status = prvr("status", "failing", cwd=folder)
    assert "1 failed (" in status.out


def test_promote_moves_the_champion_and_says_what_it_replaces(folder: Path, launched: Done) -> None:
    options = ("--set", "name=again", "--executor", "inline", "--json")
    other = prvr("launch", "tiny.yaml", *options, cwd=folder)
    assert other.code == 0, other.err
    result = json.loads(other.out)
    # Equal values: the champion stays.
    assert result["value"] == json.loads(launched.out)["value"]
    assert result["alias"] == "candidate"
    done = prvr("promote", result["model"], result["version"], cwd=folder)
    assert done.code == 0, done.err
    assert f"version {result['version']}" in done.out
    assert "it replaces version 1" in done.out
    wrong = prvr("promote", "prvr-synthetic", "99", cwd=folder)
    assert wrong.code == 2
    assert "has no version '99'" in wrong.err


def test_nothing_is_registered_where_none_is_wanted(folder: Path) -> None:
    options = ("--set", "name=kept", "--set", "register.top=0", "--executor", "inline", "--json")
    done = prvr("launch", "tiny.yaml", *options, cwd=folder)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["best_trial"] is not None
    assert found["version"] is found["problem"] is found["test"] is None


def test_home_takes_one_driver_at_a_time(folder: Path, launched: Done) -> None:
    with locked_home(folder / "prvr-runs"):
        done = prvr("launch", "tiny.yaml", "--set", "name=other", cwd=folder)
    assert done.code == 2
    assert f"process {os.getpid()} on " in done.err
    assert f"runs a sweep in {folder / 'prvr-runs'}" in done.err
