"""Any beginning of a database is repaired, or refused by name; never a traceback."""

import shutil
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.mlflow_writer import connect
from orchestrator.tracking_store import TrackingStore, settle_mlflow

# Nothing, half a header, half a page, and parts of the tables.
SHARES = (0.0, 0.00001, 0.003, 0.3, 0.7, 0.97)


def cut(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])


@pytest.fixture(scope="module")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settle_mlflow()
    home = tmp_path_factory.mktemp("mlflow")
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
