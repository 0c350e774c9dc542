"""`prvr-sweep gc` on a sweep that was trained and registered."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.base.home import locked_home
from orchestrator.study.confirmation import crowned
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.free_checkpoints import _wanted_models
from prvr_model.files.checkpoint_header import EPOCHS_FILE, LAST
from prvr_model.files.folder import Folder
from prvr_model.network.model_file import load_best
from prvr_model.training.checkpoint import BEST, read_state
from tests.orchestrator.command_line import TINY_SPACE
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec

# Four trials: more than are kept without --keep.
SPACE = TINY_SPACE.replace("[1e-3, 1e-2]", "[1e-4, 1e-3, 1e-2, 3e-2]")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    home = new_home(tmp_path_factory.mktemp("swept") / "home")
    (home / "tiny.yaml").write_text(SPACE)
    assert (
        cli.run(["launch", f"{home}/tiny.yaml", "--home", str(home), "--executor", "inline"]) == 0
    )
    return home


@pytest.fixture(autouse=True)
def _restored(swept: Path, tmp_path: Path) -> object:
    """The sweep as it was, for each test."""
    shutil.copytree(swept, tmp_path / "before")
    yield
    shutil.rmtree(swept)
    shutil.copytree(tmp_path / "before", swept)


def files(home: Path) -> dict[int, set[str]]:
    trials = StudyReader.open(study_url(home), "tiny").summaries()
    return {trial.number: set(Folder.open(trial.folder).names()) for trial in trials}


def ranking(home: Path) -> list[int]:
    return [trial.number for trial in StudyReader.open(study_url(home), "tiny").best(4)]


def run_gc(home: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert cli.run(["gc", "tiny", "--home", str(home), *options]) == 0
    return capsys.readouterr().out


def test_a_dry_run_lists_and_frees_nothing(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(swept)
    shown = run_gc(swept, capsys, "--dry-run")
    assert re.search(r"tiny: keeps 3 checkpoints, 0\.\d+ MB\n  trial \d .*best\.safe", shown)
    assert "would free 5 checkpoints" in shown
    assert "could no longer be extended" in shown
    assert files(swept) == before


def test_models_of_the_best_and_the_registered_stay(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranked = ranking(swept)
    told = json.loads(run_gc(swept, capsys, "--keep", "2", "--json"))
    assert told["keep"] == 2
    assert [kept["trial"] for kept in told["kept"]] == sorted(ranked[:2])
    reasons = {kept["trial"]: kept["reason"] for kept in told["kept"]}
    assert "registered as prvr-synthetic version 1" in reasons[ranked[0]]
    there = files(swept)
    assert {number for number, names in there.items() if BEST in names} == set(ranked[:2])
    assert not any(LAST in names for names in there.values())
    assert json.loads(run_gc(swept, capsys, "--keep", "2", "--json"))["freed"] == []


def test_rows_and_ranks_stay(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = StudyReader.open(study_url(swept), "tiny").summaries()
    folders = [Folder.open(trial.folder) for trial in trials]
    states = [read_state(folder) for folder in folders]
    ranks = [folder.child("ranks").names() for folder in folders]
    assert all(ranks)
    run_gc(swept, capsys)
    assert [read_state(folder) for folder in folders] == states
    assert [folder.child("ranks").names() for folder in folders] == ranks
    assert all(EPOCHS_FILE in folder.names() for folder in folders)
    load_best(folders[ranking(swept)[0]])


def test_a_registered_trial_stays_however_many_are_better(
    swept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = ranking(swept)[0]
    monkeypatch.setattr(StudyReader, "best", lambda *_: ())
    run_gc(swept, capsys, "--keep", "1")
    assert [number for number, names in files(swept).items() if BEST in names] == [registered]


def test_unfinished_trials_keep_all(
    swept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    whole = StudyReader.summaries
    monkeypatch.setattr(
        StudyReader,
        "summaries",
        lambda self: tuple(replace(trial, state=TrialState.RUNNING) for trial in whole(self)),
    )
    assert json.loads(run_gc(swept, capsys, "--json"))["freed"] == []


def test_a_checkpoint_whose_metrics_cannot_be_kept_is_not_freed(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = StudyReader.open(study_url(swept), "tiny").summary(0)
    damaged = Path(trial.folder) / LAST
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert cli.run(["gc", "tiny", "--home", str(swept)]) == 1
    assert f"not freed: {damaged}: is damaged" in capsys.readouterr().err
    assert damaged.exists()
    assert LAST not in files(swept)[1]


def test_refusals(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, place = files(swept), ["--home", str(swept)]
    assert cli.run(["gc", "tiny", *place, "--tracking-uri", "http://127.0.0.1:9"]) == 1
    assert "MLflow at http://127.0.0.1:9" in capsys.readouterr().err
    shutil.copy(swept / "mlflow.db", tmp_path / "moved.db")
    assert cli.run(["gc", "tiny", *place, "--tracking-uri", f"sqlite:///{tmp_path}/no.db"]) == 2
    assert "there is no MLflow database" in capsys.readouterr().err
    with locked_home(swept):
        assert cli.run(["gc", "tiny", *place]) == 2
    assert "runs a sweep in" in capsys.readouterr().err
    assert cli.run(["gc", "other", *place]) == 2
    assert "no sweep 'other'" in capsys.readouterr().err
    assert cli.run(["gc", "tiny", "--home", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()
    assert files(swept) == before


def test_a_registry_that_does_not_know_the_sweep_is_not_believed(
    swept: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"sqlite:///{home}/mlflow.db"
    assert cli.run(["gc", "tiny", "--home", str(swept), "--tracking-uri", other]) == 2
    said = capsys.readouterr().err
    assert "knows no sweep 'tiny'" in said
    assert f"`prvr-sweep sync tiny --home {swept} --tracking-uri {other}`" in said


def test_what_a_confirmation_crowned_stays(tmp_path: Path) -> None:
    """The best mean of fresh runs wins, though their single values need not be the best."""
    spec = small_spec("search.trials=4", "confirm={top: 2, seeds: 2}")
    run_sweep(
        spec,
        Path("/store"),
        FINGERPRINT,
        tmp_path,
        executor="inline",
        function="tests.orchestrator.executors.whole_trials:training",
    )
    study = StudyReader.open(study_url(tmp_path), "small")
    kept = _wanted_models(study, 2)
    assert {trial.number for trial in crowned(study, 2)} <= set(kept)
    assert {trial.number for trial in study.best(2)} <= set(kept)
    assert {trial.number for trial in crowned(study, 2)} != {
        trial.number for trial in study.best(2)
    }
