"""`reproduce` as a user runs it: trials of a real sweep, trained again in this process."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.tracking.store import settle_mlflow
from prvr_model.files.checkpoint_header import LAST
from prvr_model.files.folder import Folder
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.training import checkpoint
from tests.orchestrator.command_line import TINY_SPACE, Done, prvr

pytestmark = [pytest.mark.integration, pytest.mark.soak]

_SPACE = (
    TINY_SPACE.replace("choices: [1e-3, 1e-2]", "choices: [1e-3, 1e-2, 1e+30]").replace(
        "schedule_epochs: 2", "schedule_epochs: 4"
    )
    + "speed: {threads: 1}\nregister: {top: 0}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A sweep of three trials of two epochs, the third of which fails."""
    path = tmp_path_factory.mktemp("reproduce")
    new_home(path / "prvr-runs")
    (path / "tiny.yaml").write_text(_SPACE)
    done = prvr("launch", "tiny.yaml", "--executor", "inline", cwd=path)
    assert done.code == 4, done.err
    return path


def reproduce(folder: Path, *arguments: str) -> tuple[Done, dict[str, Any]]:
    done = prvr("reproduce", "--json", *arguments, cwd=folder)
    return done, json.loads(done.out) if done.out else {}


def everything_in(folder: Path) -> dict[str, int]:
    return {
        str(file): file.stat().st_mtime_ns
        for file in sorted((folder / "prvr-runs").rglob("*"))
        # A reader of SQLite makes and removes files beside the database.
        if not file.name.endswith(("-wal", "-shm", "-journal")) and file.is_file()
    }


@pytest.mark.soak
def test_a_trial_comes_again_bit_for_bit_and_nothing_of_the_sweep_is_written(folder: Path) -> None:
    before = everything_in(folder)
    done, found = reproduce(folder, "tiny/1")
    assert done.code == 0, done.err
    assert (found["reproduced"], found["expectation"], found["equal_epochs"]) == (True, "equal", 2)
    assert (found["recorded_epochs"], found["first_difference"]) == (2, None)
    assert all(one["compared"] > 30 for one in found["epochs"])
    assert everything_in(folder) == before


def test_the_text_says_what_was_checked(folder: Path) -> None:
    done = prvr("reproduce", "tiny/0", "--epochs", "1", cwd=folder)
    assert done.code == 0, done.err
    assert done.out.startswith("tiny/0: equal bit for bit in 1 epoch\n")
    for label in ("expected", "data", "seed", "code", "changed", "epochs"):
        assert f"\n  {label} " in done.out


def test_a_trial_that_failed_fails_again_in_the_same_way(folder: Path) -> None:
    done, found = reproduce(folder, "tiny/2")
    assert done.code == 0, done.err
    then, now = found["failure"]["then"], found["failure"]["now"]
    assert then == now
    assert then.startswith("NonFinite")


def test_files_are_kept_where_they_are_wanted_and_never_continued(folder: Path) -> None:
    done, found = reproduce(folder, "tiny/0", "--keep", "again")
    assert done.code == 0, done.err
    assert found["folder"] == str(folder / "again")
    assert checkpoint.read_state(Folder.open(folder / "again")).epoch == 2
    done, _ = reproduce(folder, "tiny/0", "--keep", "again")
    assert (done.code, done.out) == (2, "")
    assert "holds a trial, which this one would continue" in done.err


def test_a_run_of_mlflow_names_its_trial_and_the_sweeps_own_none(folder: Path) -> None:
    settle_mlflow()
    uri = f"sqlite:///{folder / 'prvr-runs' / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    (experiment,) = client.search_experiments(filter_string="name = 'prvr-synthetic'")
    runs = client.search_runs([experiment.experiment_id])
    ids = {one.data.tags.get("prvr.trial"): one.info.run_id for one in runs}
    done, found = reproduce(folder, ids["1"], "--epochs", "1")
    assert (done.code, found["trial"], found["wanted_epochs"]) == (0, "tiny/1", 1)
    done, _ = reproduce(folder, ids[None])
    assert done.code == 2
    assert "is that of the sweep 'tiny' itself" in done.err
    done, _ = reproduce(folder, "0" * 32)
    assert done.code == 1
    assert "not found" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny/7",), "sweep 'tiny' has no trial 7; trials there: 0 to 2"),
        (("other/0",), "no sweep 'other'"),
        (("tiny",), "found 'tiny'; allowed: SWEEP/NUMBER"),
        (("tiny/0", "--epochs", "3"), "--epochs 3: trial tiny/0 has 2; allowed: at most 2"),
        (("tiny/0", "--address", "auto"), "--address needs --keep"),
    ],
)
def test_what_cannot_be_run_again_is_refused(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    done, _ = reproduce(folder, *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_rows_that_were_changed_are_found_out(folder: Path) -> None:
    study = StudyReader.open(study_url(folder / "prvr-runs"), "tiny")
    trial = Folder.open(study.summary(1).folder)
    kept = trial.read_bytes(LAST)
    # One digit of a loss of epoch 2, in the header of the file.
    head, _, tail = kept.rpartition(b"train/total")
    digit = tail.index(b".") + 1
    other = b"1" if tail[digit : digit + 1] != b"1" else b"2"
    trial.write_bytes(LAST, head + b"train/total" + tail[:digit] + other + tail[digit + 1 :])
    try:
        done = prvr("reproduce", "tiny/1", cwd=folder)
    finally:
        trial.write_bytes(LAST, kept)
    assert done.code == 1
    assert "tiny/1: DIFFERS from epoch 2 on, in 1 of " in done.out
    assert "train/total" in done.out


def test_other_data_in_the_place_of_the_sweeps_is_refused(folder: Path) -> None:
    (store,) = (folder / "prvr-runs" / "stores").glob("synthetic-*")
    manifest = store / "manifest.json"
    text = manifest.read_text()
    fingerprint = json.loads(text)["fingerprint"]
    manifest.write_text(text.replace(fingerprint, "0" * len(fingerprint)))
    try:
        done, _ = reproduce(folder, "tiny/1")
    finally:
        manifest.write_text(text)
    assert done.code == 3, done.err


def test_trials_that_went_on_come_again_from_their_beginning(folder: Path) -> None:
    done = prvr("resume", "tiny", "--epochs", "3", cwd=folder)
    assert done.code in (0, 4), done.err
    done, found = reproduce(folder, "tiny/1")
    assert done.code == 0, done.err
    assert (found["equal_epochs"], found["results_version"]) == (3, [RESULTS_VERSION] * 2)


@pytest.mark.soak
def test_a_trial_of_two_workers_comes_again(tmp_path: Path) -> None:
    space = TINY_SPACE.replace("[1e-3, 1e-2]", "[1e-3]").replace("name: tiny", "name: pair")
    (tmp_path / "pair.yaml").write_text(
        space + "resources: {workers: 2, cpus: 1}\nregister: {top: 0}\n"
    )
    assert (os.cpu_count() or 1) >= 2
    done = prvr("launch", "pair.yaml", cwd=tmp_path)
    assert done.code == 0, done.err
    done, found = reproduce(tmp_path, "pair/0")
    assert done.code == 0, done.err
    assert found["equal_epochs"] == 2
