"""MLflow away for a whole sweep: everything arrives afterwards."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator import cli
from orchestrator.base.home import outbox_path
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect, experiment_ids
from tests.orchestrator.command_line import TINY_SPACE
from tests.orchestrator.helpers import new_study, small_spec


@pytest.fixture
def unreachable() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def runs(home: Path) -> dict[str, tuple[str, dict[str, float]]]:
    """State and last metrics of each run by name."""
    client = connect(TrackingStore.of_home(home))
    (experiment,) = experiment_ids(client).values()
    found = client.search_runs([experiment])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: (run.info.status, run.data.metrics) for run in found}


@pytest.mark.soak
def test_a_server_that_is_gone_for_the_whole_sweep(
    home: Path,
    tmp_path: Path,
    unreachable: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("orchestrator.sweep.launch._FLUSH_S", 1.0)
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY_SPACE)
    place = ["--home", str(home)]
    launched = cli.run(
        ["launch", str(space), *place, "--executor", "inline", "--tracking-uri", unreachable]
    )
    assert launched == 1
    said = capsys.readouterr().err
    assert "MLflow does not have everything" in said
    assert f"`prvr-sweep resume tiny --home {home}` sends the rest and registers the model" in said

    # It goes where the sweep was launched to go, unless another MLflow is named.
    assert cli.run(["sync", "tiny", *place, "--timeout", "1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["uri"] == unreachable
    assert told["done"] is False
    assert "cannot be reached" in told["problem"]

    here = [*place, "--tracking-uri", TrackingStore.of_home(home).uri]
    assert cli.run(["sync", "tiny", *here]) == 0
    assert "mlflow.db has everything of tiny" in capsys.readouterr().out
    there = runs(home)
    assert len(there) == 3
    assert {status for status, _ in there.values()} == {"FINISHED"}
    assert sum("val/SumR" in metrics for _, metrics in there.values()) == 2

    events = _told(outbox_path(home, "tiny"))
    assert cli.run(["sync", "tiny", *here]) == 0
    assert runs(home) == there
    assert _told(outbox_path(home, "tiny")) == events

    # Without the outbox everything is still in the study and in the checkpoints.
    shutil.move(outbox_path(home, "tiny"), tmp_path / "lost.jsonl")
    again = home / "again.db"
    assert cli.run(["sync", "tiny", *here]) == 0
    assert "is lost; it is made again" in capsys.readouterr().err
    assert _told(outbox_path(home, "tiny")) == events
    assert runs(home) == there
    # Another MLflow, with nothing of the old one.
    assert cli.run(["sync", "tiny", *place, "--tracking-uri", f"sqlite:///{again}"]) == 0
    assert len(connect(TrackingStore(f"sqlite:///{again}", None)).search_experiments()) > 1

    # What was not registered then is registered by the command that the launch named.
    assert cli.run(["resume", "tiny", *here]) == 0
    assert "registered: prvr-synthetic version 1" in capsys.readouterr().out

    # What is deleted afterwards is restored, or registered again.
    whole = runs(home)
    client = connect(TrackingStore.of_home(home))
    (experiment,) = experiment_ids(client).values()
    for run in client.search_runs([experiment]):
        if run.data.tags.get("prvr.trial") != "1":
            client.delete_run(run.info.run_id)
    client.delete_model_version("prvr-synthetic", "1")
    assert cli.run(["sync", "tiny", *here, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["done"]
    number = whole_trial(client, "2")
    assert told["said"] == [
        "MLflow: the runs of the sweep and of trial 0 were deleted; restored",
        f"MLflow: the model of trial {number} was gone; registered again: prvr-synthetic version 2 "
        "as champion",
    ]
    assert runs(home) == whole
    assert cli.run(["sync", "tiny", *here, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["said"] == []
    client.delete_registered_model("prvr-synthetic")
    assert cli.run(["resume", "tiny", *here]) == 0
    assert "registered: prvr-synthetic version 1 as champion" in capsys.readouterr().out


def whole_trial(client: MlflowClient, version: str) -> str:
    """Number of a version's trial, whose run is linked with the version's model."""
    found = client.get_model_version("prvr-synthetic", version)
    run = client.get_run(found.run_id)
    assert run.data.tags["prvr.registered"] == f"prvr-synthetic/{version}"
    number: str = run.data.tags["prvr.trial"]
    return number


def _told(outbox: Path) -> list[dict[str, object]]:
    """Events without the times at which the driver wrote them."""
    events = [json.loads(line) for line in outbox.read_text().splitlines()]
    return [
        {key: event[key] for key in event if key != "timestamp_ms" or event["kind"] == "epoch"}
        for event in events
    ]


def test_an_outbox_of_unknown_name_is_not_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = small_spec()
    new_study(tmp_path, spec).set_attribute("spec_yaml", spec.dump_yaml())
    assert cli.run(["sync", "small", "--home", str(tmp_path)]) == 2
    assert "the outbox of 'small' is not at" in capsys.readouterr().err
    assert not outbox_path(tmp_path, "small").exists()


def test_an_unknown_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sync", "nothing", "--home", str(tmp_path)]) == 2
    assert "no sweep 'nothing'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
