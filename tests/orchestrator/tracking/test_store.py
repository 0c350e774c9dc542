"""Where MLflow keeps things, and that it keeps quiet."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.base.errors import LocationError, TrackingError
from orchestrator.tracking.store import TrackingStore, experiment_name, settle_mlflow
from orchestrator.tracking.writer import connect
from tests.locations import ROOT
from tests.orchestrator.odd_names import ODD_NAMES


def test_the_default_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = TrackingStore.of(None, Path("prvr-runs"))
    assert store.uri == f"sqlite:///{tmp_path}/prvr-runs/mlflow.db"
    assert store.artifact_root == f"file://{tmp_path}/prvr-runs/mlartifacts"
    assert not store.is_server


def test_a_server_keeps_its_own_files(tmp_path: Path) -> None:
    store = TrackingStore.of("http://127.0.0.1:5000/", tmp_path)
    assert store == TrackingStore("http://127.0.0.1:5000", None)
    assert store.is_server


def test_files_lie_beside_an_sqlite_database(tmp_path: Path) -> None:
    store = TrackingStore.of(f"sqlite:///{tmp_path}/a/b.db", Path("/home"))
    assert store.artifact_root == f"file://{tmp_path}/a/mlartifacts"
    assert store.database == tmp_path / "a" / "b.db"
    assert TrackingStore.of("http://127.0.0.1:5000", tmp_path).database is None


def test_a_missing_database_is_refused_and_not_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(TrackingError, match=f"there is no MLflow database at {home}/mlflow.db"):
        TrackingStore.of_home(home).check_exists()
    assert not home.exists()
    TrackingStore.of("http://127.0.0.1:5000", home).check_exists()


@pytest.mark.parametrize("uri", ["./mlruns", "file:///x", "databricks", "", "ftp://x"])
def test_what_cannot_hold_runs_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="give the address of an `mlflow server`"):
        TrackingStore.of(uri, tmp_path)


@pytest.mark.parametrize("uri", ["http://[x", "postgresql://[x/runs"])
def test_what_is_no_address(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="is no address: Invalid IPv6 URL"):
        TrackingStore.of(uri, tmp_path)


def test_a_relative_database_is_refused_with_the_absolute_one(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"write sqlite:////.*mlflow\.db"):
        TrackingStore.of("sqlite:///mlflow.db", tmp_path)


def test_a_database_below_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", f"{tmp_path}/my home")
    monkeypatch.setenv("RUNS", f"{tmp_path}/100%")
    monkeypatch.delenv("UNSET", raising=False)
    home = TrackingStore.of("sqlite:///~/m.db", tmp_path)
    assert home.uri == f"sqlite:///{tmp_path}/my home/m.db"
    assert home.artifact_root == f"file://{tmp_path}/my%20home/mlartifacts"
    runs = TrackingStore.of("sqlite:///$RUNS/m.db?timeout=9", tmp_path)
    assert runs.uri == f"sqlite+pysqlite:///{tmp_path}/100%25/m.db?timeout=9"
    assert TrackingStore.of(runs.uri, tmp_path) == runs
    with pytest.raises(LocationError, match="variable UNSET is not set"):
        TrackingStore.of("sqlite:///$UNSET/m.db", tmp_path)
    with pytest.raises(TrackingError, match="write a question mark of a path as %3F"):
        TrackingStore.of("sqlite:////a/what? now/m.db", tmp_path)
    # A password is no path.
    secret = "postgresql://me:$UNSET~@host/runs"
    assert TrackingStore.of(secret, tmp_path).uri == secret


@pytest.mark.parametrize("name", ODD_NAMES)
def test_mlflow_keeps_everything_in_the_named_folder(
    name: str, tmp_path: Path, new_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    home = new_home(tmp_path / "homes" / name / "runs")
    store = TrackingStore.of_home(home)
    store.check_exists()
    client = connect(store)
    experiment = client.create_experiment("prvr-x", f"{store.artifact_root}/prvr-x")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "text", "report.md")
    assert [file.path for file in client.list_artifacts(run)] == ["report.md"]
    assert [file.read_text() for file in home.rglob("report.md")] == ["text"]
    assert list((tmp_path / "cwd").iterdir()) == []
    assert list((tmp_path / "homes").iterdir()) == [home.parent]
    assert list(home.parent.iterdir()) == [home]


def test_names_have_letters_that_mlflow_takes() -> None:
    assert experiment_name("tvr_mini.v2") == "prvr-tvr_mini.v2"
    assert experiment_name("my data/it's") == "prvr-my-data-it-s"


def test_what_the_user_set_stays() -> None:
    environment = {"MLFLOW_LOGGING_LEVEL": "DEBUG"}
    settle_mlflow(environment)
    assert environment["MLFLOW_LOGGING_LEVEL"] == "DEBUG"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_modules_of_the_command_line_import_no_mlflow() -> None:
    modules = "outbox, store, view, ui, sender, registry"
    script = (
        f"import sys; from orchestrator.tracking import {modules};"
        "sys.exit(bool({'mlflow', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
