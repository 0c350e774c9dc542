"""A home that the version before the rooms wrote is read, continued and served.

`old_home/home.tar.xz` holds a finished sweep (`tiny`, one trial, registered) and one whose driver
was killed after its sixth epoch (`cut`); `cut.json` is what the old version made of `cut` when it
resumed a copy.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator import cli
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.store.reader import FeatureStore

OLD = Path(__file__).with_name("old_home")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with tarfile.open(OLD / "home.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "home"


def shown(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run([*arguments, "--home", str(home)]) == 0
    return capsys.readouterr().out


def test_its_sweeps_are_shown_and_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = json.loads(shown(home, capsys, "status", "tiny", "--json"))
    assert (status["state"], status["counts"]["complete"]) == ("finished", 1)
    status = json.loads(shown(home, capsys, "status", "cut", "--json"))
    assert (status["state"], status["counts"]["running"]) == ("lost", 1)
    report = json.loads(shown(home, capsys, "report", "tiny", "--format", "json"))
    assert report["problems"] == []


def test_a_sweep_that_was_killed_continues_with_the_new_version(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(home, capsys, "resume", "cut", "--json")
    study = StudyReader.open(study_url(home), "cut")
    found = {
        str(trial.number): {
            "key": trial.key,
            "best_epoch": trial.best_epoch,
            "values": [row.objective for row in study.rows(trial.number)],
        }
        for trial in study.summaries()
    }
    expected = json.loads((OLD / "cut.json").read_text())
    # Trial 0 had ended. Trial 1 had begun: what it had trained stays, and it goes on with the
    # dropout of now. Trial 2 begins with the numbers of now.
    assert found["0"] == expected["0"]
    assert found["1"]["key"] == expected["1"]["key"]
    assert len(found["1"]["values"]) == len(expected["1"]["values"])
    assert found["1"]["values"][:2] == expected["1"]["values"][:2]
    assert found["2"]["key"] != expected["2"]["key"]
    assert [trial.results_version for trial in study.summaries()] == [1, 1, RESULTS_VERSION]


def test_its_store_is_read(home: Path) -> None:
    (store,) = (home / "stores").iterdir()
    assert FeatureStore.open(store).manifest.splits["train"].videos == 12


def test_its_registered_version_is_served(home: Path) -> None:
    from mlflow.pyfunc import load_model

    description, *_ = home.glob("mlartifacts/**/MLmodel")
    model = load_model(str(description.parent))
    dimension = model.metadata.get_input_schema().inputs[0].shape[-1]
    vectors = model.predict(np.ones((2, 3, dimension), np.float32))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
