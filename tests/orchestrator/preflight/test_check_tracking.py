"""Tracking servers that are away, refuse or are others; databases of other versions."""

import http.server
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from orchestrator.preflight.check_tracking import check_study, check_tracking
from orchestrator.preflight.database_schema import KnownSchemas
from orchestrator.study.study import study_url
from tests.orchestrator.helpers import new_study, small_spec

Serve = Callable[[int, bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives one answer to everything."""
    servers: list[http.server.HTTPServer] = []

    def start(code: int, body: bytes) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


def test_a_server_of_a_known_version(serve: Serve, tmp_path: Path) -> None:
    found = check_tracking(serve(200, b"3.17.2"), tmp_path)
    assert found.level == "ok"
    assert "MLflow 3.17.2" in found.message


def test_a_server_of_another_version_is_a_warning(serve: Serve, tmp_path: Path) -> None:
    found = check_tracking(serve(200, b"1.30.0"), tmp_path)
    assert found.level == "warning"
    assert "MLflow 1.30.0" in found.message


def test_somebody_else_answers(serve: Serve, tmp_path: Path) -> None:
    found = check_tracking(serve(200, b"<html>"), tmp_path)
    assert found.level == "problem"
    assert "not as an MLflow server" in found.message


@pytest.mark.parametrize(("code", "said"), [(401, "MLFLOW_TRACKING_TOKEN"), (502, "server's log")])
def test_a_server_that_refuses(serve: Serve, tmp_path: Path, code: int, said: str) -> None:
    found = check_tracking(serve(code, b""), tmp_path)
    assert found.level == "problem"
    assert f"answers {code}" in found.message
    assert said in found.remedy


def test_a_server_that_is_away(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    found = check_tracking(uri, tmp_path)
    assert found.level == "problem"
    assert f"no MLflow server answers at {uri}" in found.message
    assert "mlflow server" in found.remedy


def test_a_uri_that_holds_no_runs(tmp_path: Path) -> None:
    assert check_tracking("file:///runs", tmp_path).level == "problem"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study's database that nobody has open."""
    home = tmp_path / "home"
    new_study(home, small_spec())._study._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    return home / "study.db"


def set_version(database: Path, version: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


def test_databases_that_are_not_there_are_fine_and_not_made(tmp_path: Path) -> None:
    assert check_study(tmp_path).level == "ok"
    assert check_tracking(None, tmp_path).level == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_this_version_is_fine_and_left_as_it_was(study: Path) -> None:
    before = sorted(path.name for path in study.parent.iterdir())
    assert check_study(study.parent).level == "ok"
    assert sorted(path.name for path in study.parent.iterdir()) == before


def test_a_study_that_is_being_written_is_read_as_well(tmp_path: Path) -> None:
    writing = new_study(tmp_path, small_spec())
    assert check_study(tmp_path).level == "ok"
    writing.set_attribute("still", "open")


def test_an_older_study_is_a_problem_that_optuna_mends(study: Path) -> None:
    set_version(study, "v2.6.0.a")
    found = check_study(study.parent)
    assert found.level == "problem"
    assert "older schema (v2.6.0.a)" in found.message
    assert f"optuna storage upgrade --storage {study_url(study.parent)}" in found.remedy


def test_a_later_study_is_a_problem(study: Path) -> None:
    set_version(study, "v9.0.0.a")
    found = check_study(study.parent)
    assert found.level == "problem"
    assert f"optuna {optuna.__version__} does not know" in found.message


def test_a_database_without_tables_is_a_problem(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "study.db").close()
    assert "is not whole" in check_study(tmp_path).message


def test_a_damaged_database_is_named(study: Path) -> None:
    study.write_bytes(b"no database at all" * 1000)
    found = check_study(study.parent)
    assert found.level == "problem"
    assert f"{study} cannot be read" in found.message


def test_an_older_mlflow_is_a_problem_that_mlflow_mends(study: Path, tmp_path: Path) -> None:
    shutil.copy(study, tmp_path / "mlflow.db")
    set_version(tmp_path / "mlflow.db", "451aebb31d03")
    found = check_tracking(None, tmp_path)
    assert found.level == "problem"
    assert "mlflow db upgrade sqlite:///" in found.remedy


@pytest.mark.parametrize("package", ["mlflow", "optuna"])
def test_each_package_works_with_one_schema(package: str) -> None:
    known = KnownSchemas.of(package)
    assert len(known.current) == 1
    assert len(known.versions) > 5
