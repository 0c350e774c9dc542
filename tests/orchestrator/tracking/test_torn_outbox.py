"""Whatever is left of a sweep's outbox, `sync` brings all of the sweep to MLflow."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.base.home import outbox_path
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect, experiment_ids
from tests.cases import rest_in_soak
from tests.orchestrator.command_line import TINY_SPACE


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    home = new_home(tmp_path_factory.mktemp("swept") / "home")
    (home / "tiny.yaml").write_text(TINY_SPACE)
    launch = ["launch", f"{home}/tiny.yaml", "--home", str(home), "--executor", "inline"]
    assert cli.run(launch) == 0
    return home


@pytest.fixture
def home(swept: Path, tmp_path: Path) -> Path:
    """A copy of the sweep's home; its trials' folders stay where they are."""
    home = tmp_path / "home"
    home.mkdir()
    for file in (*swept.glob("study.db*"), swept / "mlflow.db"):
        shutil.copy(file, home)
    for name in ("outbox", "tiny"):
        shutil.copytree(swept / name, home / name)
    return home


def nothing(_whole: bytes) -> bytes:
    return b""


def inside_the_header(whole: bytes) -> bytes:
    return whole[: whole.index(b"\n") // 2]


def the_header_alone(whole: bytes) -> bytes:
    return whole[: whole.index(b"\n") + 1]


def half_the_lines(whole: bytes) -> bytes:
    lines = whole.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2])


def the_middle_of_a_line(whole: bytes) -> bytes:
    return half_the_lines(whole)[:-7]


def all_but_the_end(whole: bytes) -> bytes:
    return whole[:-1]


def another_sweeps(whole: bytes) -> bytes:
    header = json.loads(whole.splitlines()[0])
    return json.dumps({**header, "id": "f" * 32}).encode() + b"\n"


def runs(home: Path) -> dict[str, object]:
    """State, and all rows of the metrics, of each run by name."""
    client = connect(TrackingStore.of_home(home))
    (experiment,) = experiment_ids(client).values()
    found = client.search_runs([experiment])
    assert len({run.info.run_name for run in found}) == len(found)
    return {
        run.info.run_name: (
            run.info.status,
            {
                key: [
                    (row.step, row.value) for row in client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
                if key.startswith(("val/", "train/"))
            },
        )
        for run in found
    }


def told(home: Path) -> list[dict[str, object]]:
    """Events without the times at which the driver wrote them."""
    outbox = Outbox(outbox_path(home, "tiny"))
    outbox.close()
    return [
        {key: event[key] for key in event if key != "timestamp_ms" or event["kind"] == "epoch"}
        for event in outbox.events()
    ]


@pytest.mark.parametrize("is_fresh", [True, False], ids=["fresh MLflow", "same MLflow"])
@pytest.mark.parametrize(
    "part",
    rest_in_soak(
        [
            the_middle_of_a_line,
            nothing,
            inside_the_header,
            the_header_alone,
            half_the_lines,
            all_but_the_end,
            another_sweeps,
        ]
    ),
)
def test_all_of_the_sweep_arrives(
    swept: Path, home: Path, empty_database: Path, part: Callable[[bytes], bytes], is_fresh: bool
) -> None:
    path = outbox_path(home, "tiny")
    path.write_bytes(part(path.read_bytes()))
    if is_fresh:
        shutil.copy(empty_database, home / "mlflow.db")
    assert cli.run(["sync", "tiny", "--home", str(home)]) == 0
    assert runs(home) == runs(swept)
    events = told(home)
    # A fresh MLflow gets the model again, under another id.
    again = [events.pop()["kind"]] if is_fresh else []
    assert again == ["registered"] * is_fresh
    assert events == told(swept)
    # What a reader of another store knows of the longer file misleads nobody.
    before = told(home)
    assert cli.run(["sync", "tiny", "--home", str(home)]) == 0
    assert told(home) == before


def test_an_outbox_that_is_torn_and_of_unknown_identity_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = outbox_path(home, "tiny")
    path.write_bytes(b"")
    forget_identity(home)
    assert cli.run(["sync", "tiny", "--home", str(home)]) == 2
    assert f"is not at {path}" in capsys.readouterr().err
    assert path.read_bytes() == b""


def forget_identity(home: Path) -> None:
    with closing(sqlite3.connect(home / "study.db")) as connection, connection:
        connection.execute("DELETE FROM study_user_attributes WHERE key = 'outbox_id'")
