"""Runs as a real MLflow store on SQLite holds them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.data import get_source
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND

from orchestrator.base.errors import TrackingOutageError
from orchestrator.tracking import writer as mlflow_writer
from orchestrator.tracking.faults import outage_text
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.run_change import MetricRow, RunChange, RunIdentity
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import MlflowWriter, connect
from tests.locations import ROOT
from tests.orchestrator.tracking.fake_sweep import (
    FINGERPRINT,
    START_MS,
    sweep_events,
    sweep_started,
)
from tests.orchestrator.tracking.reading import (
    DATA_SET,
    EXPERIMENT,
    content_of,
    replay,
    runs_of,
    send,
)


@pytest.fixture
def outbox(home: Path) -> Outbox:
    return Outbox(home / "outbox" / "cbva.jsonl")


def fill(outbox: Outbox, num_trials: int = 4) -> None:
    for event in sweep_events(num_trials=num_trials):
        outbox.append(event)


def test_a_parent_and_a_child_per_trial(outbox: Outbox, store: TrackingStore) -> None:
    fill(outbox)
    send(outbox, store)
    runs = runs_of(store, outbox)
    assert sorted(runs) == ["0", "1", "2", "3", "sweep"]
    parent = runs.pop("sweep")
    assert parent.info.run_name == "cbva"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    experiment = connect(store).get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_trial_has_its_epochs_settings_and_end(outbox: Outbox, store: TrackingStore) -> None:
    fill(outbox)
    send(outbox, store)
    events = sweep_events(num_trials=4)
    epochs = [event for event in events if event["kind"] == "epoch" and event["number"] == 0]
    trial = content_of(store, outbox)["0"]
    assert trial["metrics"]["val/SumR"] == [
        (event["epoch"], event["timestamp_ms"], event["metrics"]["val/SumR"]) for event in epochs
    ]
    assert trial["params"]["model.hidden_size"] == "384"
    assert trial["params"]["losses.hard_negative_epoch"] == "20"
    assert trial["status"] == "FINISHED"
    assert trial["tags"]["prvr.seed"] == "7"


def test_a_pruned_trial_is_known_by_its_name(outbox: Outbox, store: TrackingStore) -> None:
    fill(outbox)
    send(outbox, store)
    names = [run.info.run_name for run in runs_of(store, outbox).values()]
    assert [name.split()[0] for name in names if name.endswith(" pruned")] == ["003"]


def test_every_run_names_its_data_set_and_its_user(outbox: Outbox, store: TrackingStore) -> None:
    fill(outbox)
    send(outbox, store)
    content = content_of(store, outbox)
    assert len(content) == 5
    for run in content.values():
        [used] = run["data"]
        dataset = used["dataset"]
        assert (dataset["name"], dataset["digest"]) == ("builtin", FINGERPRINT[:36])
        assert json.loads(dataset["profile"]) == {"fingerprint": FINGERPRINT}
        assert json.loads(dataset["source"])["tags"]["train_videos"] == 160
        assert used["tags"] == {"mlflow.data.context": "training"}
        assert run["tags"]["mlflow.user"] == "ada"
    users = {run.info.user_id for run in runs_of(store, outbox).values()}
    assert users == {"ada"}


@pytest.mark.parametrize(
    ("source", "kind"), [("/data/tv", "local"), ("file:///data/tv", "local"), ("s3://b/tv", "s3")]
)
def test_the_source_of_a_data_set_is_read_by_mlflow(
    outbox: Outbox, store: TrackingStore, source: str, kind: str
) -> None:
    data = {"name": "tv", "fingerprint": "abc", "source": source, "generated": None}
    outbox.append(sweep_started() | {"data": data})
    send(outbox, store)
    [used] = runs_of(store, outbox)["sweep"].inputs.dataset_inputs
    assert used.dataset.source_type == kind
    assert get_source(used.dataset).to_dict() == {"uri": source}


def test_an_outbox_of_an_older_version_is_sent_without_a_data_set(
    outbox: Outbox, store: TrackingStore
) -> None:
    for event in sweep_events(num_trials=1):
        outbox.append({key: value for key, value in event.items() if key != "data"})
    send(outbox, store)
    assert [run["data"] for run in content_of(store, outbox).values()] == [[], []]


def test_a_server_that_does_not_know_data_sets_gets_everything_else(
    outbox: Outbox, store: TrackingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise MlflowException("no such endpoint", error_code=ENDPOINT_NOT_FOUND)

    monkeypatch.setattr("mlflow.MlflowClient.log_inputs", unknown)
    fill(outbox, num_trials=1)
    sender = mlflow_sender(outbox, store, DATA_SET)
    sender.start()
    assert sender.flush(120)
    sender.stop()
    assert "no such endpoint" in (sender.problem or "")
    assert {run["status"] for run in content_of(store, outbox).values()} == {"FINISHED"}


def test_a_model_that_this_mlflow_lacks_is_linked_by_its_tag_alone(
    outbox: Outbox, store: TrackingStore
) -> None:
    fill(outbox, num_trials=1)
    version = {"number": 0, "model": "prvr-builtin", "version": "1", "model_id": "m-" + "0" * 32,
               "epoch": 2}  # fmt: skip
    outbox.append({"kind": "registered", "versions": [version], "timestamp_ms": START_MS})
    send(outbox, store)
    for run in content_of(store, outbox).values():
        assert run["tags"]["prvr.registered"] == "prvr-builtin/1"
        assert run["models"] == []


def test_sending_again_changes_nothing(outbox: Outbox, store: TrackingStore) -> None:
    fill(outbox)
    send(outbox, store)
    before = content_of(store, outbox)
    replay(outbox, store)
    assert content_of(store, outbox) == before


def test_files_of_the_parent(outbox: Outbox, store: TrackingStore, tmp_path: Path) -> None:
    fill(outbox)
    send(outbox, store)
    client = connect(store)
    parent = runs_of(store, outbox)["sweep"]
    path = Path(client.download_artifacts(parent.info.run_id, "sweep.yaml", str(tmp_path)))
    assert path.read_text().startswith("name: cbva")
    path = Path(client.download_artifacts(parent.info.run_id, "trials.json", str(tmp_path)))
    assert len(json.loads(path.read_text())["data"]) == 4
    shown = json.loads(parent.data.tags["mlflow.loggedArtifacts"])
    assert shown == [{"path": "trials.json", "type": "table"}]


def test_more_rows_than_a_call_may_hold(store: TrackingStore) -> None:
    refusals: list[str] = []
    writer = MlflowWriter(connect(store), store.artifact_root, "x", "id", refusals.append)
    parent = RunIdentity(None, "big", START_MS)
    rows = [MetricRow(f"m{k}", 1.0, START_MS, step) for k in range(5) for step in range(500)]
    change = RunChange(parent, metrics=rows)
    change.params = {f"p{k}": "v" * 7000 for k in range(230)}
    change.tags = {f"t{k}": "v" * 9000 for k in range(230)}
    writer.write([change], parent)
    assert refusals == []
    client = connect(store)
    run = client.search_runs(["1"])[0]
    assert len(run.data.params) == 230
    assert sum(len(client.get_metric_history(run.info.run_id, f"m{k}")) for k in range(5)) == 2500


def test_a_changed_parameter_becomes_a_tag(outbox: Outbox, store: TrackingStore) -> None:
    outbox.append(sweep_started(trials=16))
    outbox.append(sweep_started(trials=32))
    send(outbox, store)
    outbox.append(sweep_started(trials=64))
    send(outbox, store)
    parent = runs_of(store, outbox)["sweep"].data
    assert parent.params["search.trials"] == "32"
    assert parent.tags["prvr.changed.search.trials"] == "64"


def test_what_mlflow_refuses_holds_up_nothing(store: TrackingStore) -> None:
    refusals: list[str] = []
    writer = MlflowWriter(connect(store), store.artifact_root, "x", "id", refusals.append)
    parent = RunIdentity(None, "odd", START_MS)
    change = RunChange(parent, metrics=[MetricRow("bad!*name", 1.0, START_MS, 1)])
    change.tags = {"prvr.state": "running"}
    writer.write([change], parent)
    assert len(refusals) == 1
    assert connect(store).search_runs(["1"])[0].data.tags["prvr.state"] == "running"


def test_two_sweeps_of_one_name_stay_apart(home: Path, store: TrackingStore) -> None:
    boxes = [Outbox(home / folder / "cbva.jsonl") for folder in ("here", "there")]
    for box in boxes:
        fill(box, num_trials=1)
        send(box, store)
    ids = [runs_of(store, box)["sweep"].info.run_id for box in boxes]
    assert ids[0] != ids[1]


def test_another_store_gets_all_from_the_beginning(
    outbox: Outbox, store: TrackingStore, home: Path, tmp_path: Path
) -> None:
    other_home = tmp_path / "other"
    shutil.copytree(home, other_home)
    fill(outbox)
    send(outbox, store)
    other = TrackingStore.of_home(other_home)
    send(outbox, other)
    assert content_of(other, outbox) == content_of(store, outbox)


def test_a_deleted_experiment_is_told_with_the_way_out(
    outbox: Outbox, store: TrackingStore
) -> None:
    client = connect(store)
    client.delete_experiment(client.create_experiment(EXPERIMENT))
    fill(outbox, num_trials=1)
    sender = mlflow_sender(outbox, store, DATA_SET)
    sender.start()
    assert not sender.flush(2)
    assert "mlflow experiments restore" in str(sender.problem)
    sender.stop()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://127.0.0.1:9", "it cannot be reached (Connection refused)"),
        ("http://nowhere.invalid:5000", "it cannot be reached"),
    ],
)
def test_a_server_that_is_away_is_told_in_a_few_words(uri: str, expected: str) -> None:
    with pytest.raises(MlflowException) as caught:
        connect(TrackingStore(uri, None)).search_experiments()
    shown = outage_text(caught.value, uri)
    assert shown.startswith(f"MLflow at {uri} does not take results: {expected}")
    assert "HTTPConnection" not in shown


def test_a_database_is_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_made(uri: str, artifact_root: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half a database")
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_writer, "SqlAlchemyStore", half_made)
    with pytest.raises(KeyboardInterrupt):
        connect(TrackingStore.of_home(tmp_path / "home"))
    assert list((tmp_path / "home").iterdir()) == []


def test_a_database_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackingOutageError, match=r"cannot make sqlite:.*Not a directory"):
        connect(TrackingStore.of_home(tmp_path / "file" / "home"))


@pytest.mark.soak
def test_nothing_on_stderr_or_stdout_and_no_file_in_the_working_directory(
    outbox: Outbox, store: TrackingStore, tmp_path: Path
) -> None:
    fill(outbox, num_trials=1)
    script = (
        "import sys; from pathlib import Path;"
        "from orchestrator.tracking.outbox import Outbox;"
        "from orchestrator.tracking.store import *;"
        "from orchestrator.tracking.sender import mlflow_sender;"
        "home = Path(sys.argv[1]); box = Outbox(home / 'outbox' / 'cbva.jsonl');"
        "s = mlflow_sender(box, TrackingStore.of_home(home), 'builtin');"
        "s.start(); assert s.flush(120), s.problem; s.stop()"
    )
    # A home without a database: that MLflow makes its tables is to be silent as well.
    fresh = tmp_path / "fresh"
    shutil.copytree(outbox.path.parent, fresh / "outbox")
    work = tmp_path / "work"
    work.mkdir()
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", script, str(fresh)],
        cwd=work,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(work.iterdir()) == []
