"""Any beginning of a database is repaired, or refused by name; never a traceback."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.base.errors import StudyDatabaseError
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import TrialDescription, study_url
from orchestrator.tracking.sender import MlflowSender
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect
from tests.cases import rest_in_soak
from tests.orchestrator.command_line import TINY_SPACE
from tests.orchestrator.helpers import new_searcher, new_study, small_spec

# Nothing, a part of the header, of a page, of the tables, and all but some bytes.
SHARES = (0.0, 0.0001, 0.003, 0.3, 0.7, 0.97, 0.9999)


def cut(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])


@pytest.fixture(scope="module")
def mlflow_database(
    tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]
) -> Path:
    home = new_home(tmp_path_factory.mktemp("mlflow") / "home")
    connect(TrackingStore.of_home(home)).create_registered_model("prvr-builtin")
    return home / "mlflow.db"


@pytest.mark.parametrize("share", SHARES)
def test_mlflow_database(
    tmp_path: Path, mlflow_database: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copy(mlflow_database, tmp_path))
    cut(file, share)
    place = ["--home", str(tmp_path)]
    for command in (["promote", "prvr-builtin", "1", *place], ["ui", *place]):
        # What is empty counts as missing.
        assert cli.run(command) == (1 if share else 2)
        said = capsys.readouterr()
        assert str(file) in said.err
        assert said.err.startswith("error: ")
        assert ("put a copy of the file back" if share else "fills one that was lost") in said.err


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """The home of a sweep of two trials, its study in one file."""
    home = new_home(tmp_path_factory.mktemp("swept") / "home")
    (home / "tiny.yaml").write_text(TINY_SPACE)
    launch = ["launch", f"{home}/tiny.yaml", "--home", str(home), "--executor", "inline"]
    assert cli.run(launch) == 0
    with closing(sqlite3.connect(home / "study.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home


@pytest.fixture
def torn_home(swept: Path, tmp_path: Path) -> Callable[[float], Path]:
    """Copies of the home, of whose study so much is left."""

    def make(share: float) -> Path:
        home = Path(shutil.copytree(swept, tmp_path / "home"))
        for beside in home.glob("study.db-*"):
            beside.unlink()
        cut(home / "study.db", share)
        return home

    return make


@pytest.mark.parametrize("share", SHARES)
def test_study_database(
    torn_home: Callable[[float], Path], share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    home = torn_home(share)
    place, space = ["--home", str(home)], f"{home}/tiny.yaml"
    commands = [[name, "tiny"] for name in ("status", "resume", "sync", "report", "gc")]
    for command in (*commands, ["plan", space], ["launch", space], ["reproduce", "tiny/0"]):
        assert cli.run([*command, *place]) == 3
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"error: the studies' database {home}/study.db cannot be used: ")
        assert "put a copy back" in said


def test_a_lost_study_costs_no_training(
    torn_home: Callable[[float], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As the message says."""
    home = torn_home(0.3)
    (home / "study.db").rename(home / "torn.db")
    place = ["--home", str(home)]
    again = ["launch", f"{home}/tiny.yaml", "--set", "name=again", "--executor", "inline"]
    assert cli.run([*again, *place]) == 0
    capsys.readouterr()
    assert cli.run(["status", "again", *place]) == 0
    assert "2 not trained; their results are copied from tiny" in capsys.readouterr().out


@pytest.fixture
def _no_wait_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is asked for a problem all the while, so that the first one ends the wait."""
    flush = MlflowSender.flush

    def until_told(sender: MlflowSender, timeout_s: float) -> bool:
        limit_s = time.monotonic() + timeout_s
        while not (done := flush(sender, 0.05)) and not sender.problem:
            assert time.monotonic() < limit_s, "neither done nor refused"
        return done

    monkeypatch.setattr(MlflowSender, "flush", until_told)


@pytest.mark.usefixtures("_no_wait_after_an_error")
@pytest.mark.parametrize("share", rest_in_soak(SHARES))
def test_a_sweep_beside_a_torn_mlflow_database(
    torn_home: Callable[[float], Path],
    share: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # An empty file is filled.
    code = 1 if share else 0
    home = torn_home(1.0)
    cut(home / "mlflow.db", share)
    place = ["--home", str(home)]
    assert cli.run(["sync", "tiny", *place, "--timeout", "60", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["done"] is (code == 0)
    again = ["launch", f"{home}/tiny.yaml", "--set", "name=again", "--executor", "inline"]
    assert cli.run([*again, *place]) == code
    said = capsys.readouterr().err
    for text in (told["problem"], said) if share else ():
        assert f"{home}/mlflow.db" in text
        assert "put a copy of the file back" in text


def test_another_programs_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(StudyDatabaseError, match=r"study\.db cannot be used: no such table"):
        StudyReader.open(study_url(tmp_path), "small")


def test_tables_of_another_version(tmp_path: Path) -> None:
    new_study(tmp_path, small_spec())
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.0.a'")
    wanted = r"study\.db .* schema .*`prvr-sweep doctor --home .*` says"
    with pytest.raises(StudyDatabaseError, match=wanted):
        StudyReader.open(study_url(tmp_path), "small")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("notes on a study\n" * 20)
    with pytest.raises(StudyDatabaseError, match=r"study\.db cannot be used: file is not a data"):
        StudyReader.open(study_url(tmp_path), "small")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "study.db").mkdir()
    with pytest.raises(StudyDatabaseError, match=r"(I/O error|unable to open).*; (check|make)"):
        StudyReader.open(study_url(tmp_path), "small")


def test_a_server_is_named_without_its_password() -> None:
    error = StudyDatabaseError("postgresql://me:***@host/studies", "connection refused")
    assert "connection refused; check that it can be reached" in str(error)


def test_a_database_that_others_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.study.storage._SQLITE_BUSY_S", 0)
    study, spec = new_study(tmp_path, small_spec()), small_spec()
    new_searcher(study, spec).next()
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StudyDatabaseError, match=r"study\.db .* is locked; end the program"):
            study.record_epoch(0, 1, 5.0, 1000, is_judged=True)
        other.execute("ROLLBACK")
    study.record_epoch(0, 1, 5.0, 1000, is_judged=True)


def test_a_full_disk(tmp_path: Path) -> None:
    study, spec = new_study(tmp_path, small_spec()), small_spec()
    searcher = new_searcher(study, spec)
    searcher.next()
    storage: Any = study._study._storage
    with storage._backend.engine.connect() as connection:
        # SQLite's own limit gives the error of a full disk.
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    searcher.next()
    for _ in range(3):
        with pytest.raises(StudyDatabaseError, match=r"study\.db .* is full; free space"):
            study.describe(1, TrialDescription({"x": "x" * 80_000}))
