"""A home is whole files once its sweep has ended, and is read by those who may not write it."""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import cli, open_sweep
from orchestrator.base.errors import INTERRUPTED, StudyDatabaseError, SweepNotFoundError
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.sweep.locations import held_home
from orchestrator.tracking.lookup import is_run_id
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect, experiment_ids
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, Done, command, environment
from tests.orchestrator.helpers import new_searcher, new_study, reopened_study, small_spec
from tests.orchestrator.read_only import make_read_only, run_obeying
from tests.warm_process import run_warm


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A home whose sweep has ended."""
    home = tmp_path_factory.mktemp("swept") / "what? #%20"
    home.mkdir()
    shutil.copy(empty_database, home / "mlflow.db")
    (home / "tiny.yaml").write_text(TINY_SPACE)
    launch = ["launch", f"{home}/tiny.yaml", "--home", str(home), "--executor", "inline"]
    assert cli.run(launch) == 0
    return home


WHOLE = {"study.db", "mlflow.db", "lock", "tiny.yaml"}


def test_the_end_of_a_sweep_leaves_whole_files(swept: Path) -> None:
    assert {path.name for path in swept.iterdir() if path.is_file()} == WHOLE
    assert not [name for name in names(swept) if "partial" in name]
    assert {path.name for path in swept.parent.iterdir()} == {swept.name}


@pytest.mark.parametrize(
    "arguments",
    [
        ["sync", "tiny"],
        ["gc", "tiny"],
        pytest.param(["resume", "tiny"], marks=pytest.mark.soak),
    ],
)
def test_other_commands_leave_whole_files(
    swept: Path, tmp_path: Path, arguments: list[str]
) -> None:
    home = Path(shutil.copytree(swept, tmp_path / "home"))
    with closing(sqlite3.connect(home / "study.db")) as connection:
        # As an earlier version left it.
        connection.execute("PRAGMA journal_mode=WAL")
    for left in (".mlflow.db.012345678901.partial", ".study.db.x.partial-journal"):
        (home / left).touch()
    (home / "outbox" / "tiny.partial").touch()
    assert cli.run([*arguments, "--home", str(home)]) == 0
    assert {path.name for path in home.iterdir() if path.is_file()} == WHOLE
    assert not [name for name in names(home) if "partial" in name]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_a_home_is_at_rest_however_it_is_left(
    tmp_path: Path, error: type[BaseException] | None
) -> None:
    spec = small_spec()

    def drive() -> None:
        with held_home(tmp_path, "small"):
            new_searcher(new_study(tmp_path, spec), spec).next()
            reader = StudyReader.open(study_url(tmp_path), "small")
            again = reopened_study(tmp_path, spec)
            again.set_attribute("question", "why?")
            assert reader.num_asked() == 1
            assert (tmp_path / "study.db-wal").exists()
            (tmp_path / ".mlflow.db.012345678901.partial").touch()
            if error is not None:
                raise error

    if error is None:
        drive()
    else:
        with pytest.raises(error):
            drive()
    assert names(tmp_path) == {"study.db", "lock"}
    assert StudyReader.open(study_url(tmp_path), "small").attributes["question"] == "why?"
    assert names(tmp_path) == {"study.db", "lock"}


def test_a_damaged_study_hides_no_other_error(tmp_path: Path) -> None:
    def drive() -> None:
        with held_home(tmp_path):
            new_study(tmp_path, small_spec())
            (tmp_path / "study.db").write_bytes((tmp_path / "study.db").read_bytes()[:9000])
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        drive()


@pytest.mark.soak
def test_an_interrupted_sync_leaves_nothing_half_made(swept: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(swept, tmp_path / "home"))
    (home / "mlflow.db").unlink()
    sync = subprocess.Popen(
        command("sync", "tiny", "--home", home), cwd=tmp_path, env=environment()
    )
    # While MLflow makes its tables, which takes it seconds.
    deadline = time.monotonic() + TIMEOUT_S
    while not list(home.glob(".mlflow.db.*.partial")):
        assert sync.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sync.send_signal(signal.SIGTERM)
    assert sync.wait(TIMEOUT_S) == INTERRUPTED
    left = {path.name for path in home.iterdir() if path.is_file()}
    assert left <= WHOLE
    assert not [name for name in names(home) if "partial" in name]
    assert cli.run(["sync", "tiny", "--home", str(home)]) == 0


def obeying(*arguments: str | Path, cwd: Path) -> Done:
    """A command of a user whom the modes of files bind."""
    ended = run_warm(run_obeying, [*map(str, arguments)], TIMEOUT_S, cwd, environment())
    return Done(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def read_only(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the home that nobody may write."""
    home = tmp_path_factory.mktemp("read-only") / "home"
    shutil.copytree(swept, home)
    make_read_only(home)
    return home


def trial_run(home: Path) -> str:
    client = connect(TrackingStore.of_home(home))
    runs = client.search_runs(list(experiment_ids(client).values()), "tags.`prvr.trial` = '0'")
    assert is_run_id(runs[0].info.run_id)
    return str(runs[0].info.run_id)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["status", "tiny"], "tiny: finished; 2 complete"),
        (["report", "tiny"], "Does a sweep run from end to end?"),
        (["plan", "{home}/tiny.yaml"], "2 of them need no training"),
        (["gc", "tiny", "--dry-run"], "would free"),
        pytest.param(
            ["reproduce", "{run}"],
            "tiny/0: equal bit for bit in 2 epochs",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_readers_need_no_right_to_write(
    read_only: Path, tmp_path: Path, arguments: list[str], shown: str
) -> None:
    before = names(read_only)
    run = trial_run(read_only) if "{run}" in arguments else ""
    filled = [part.format(home=read_only, run=run) for part in arguments]
    done = obeying(*filled, "--home", read_only, cwd=tmp_path)
    assert done.code == 0, done.err
    assert shown in done.out
    assert names(read_only) == before
    assert names(tmp_path) == set()


@pytest.mark.parametrize("arguments", [["sync", "tiny"], ["gc", "tiny"], ["resume", "tiny"]])
def test_who_writes_is_told_in_a_sentence(
    read_only: Path, tmp_path: Path, arguments: list[str]
) -> None:
    done = obeying(*arguments, "--home", read_only, cwd=tmp_path)
    assert done.code == 2
    assert done.err == (
        f"error: cannot use {read_only} as home: Permission denied; name a folder that can be "
        "written with --home\n"
    )


def test_a_home_that_may_not_be_looked_into(swept: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0)
    for arguments in (["status", "tiny"], ["plan", swept / "tiny.yaml"], ["ui"], ["doctor"]):
        done = obeying(*arguments, "--home", home, cwd=tmp_path)
        assert done.code == 2
        assert f"'--home': found '{home}', which cannot be looked into: Permission" in done.err


def test_the_python_api_reads_as_well(read_only: Path) -> None:
    before = names(read_only)
    sweep = open_sweep("tiny", read_only)
    assert (sweep.state, len(sweep.trials()), len(sweep.epochs())) == ("finished", 2, 4)
    assert json.loads(sweep.report("json"))["sweep"] == "tiny"
    assert names(read_only) == before


def test_generated_data_is_not_made_to_be_read(swept: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(swept, tmp_path / "home"))
    shutil.rmtree(home / "stores")
    before = names(home)
    assert "no intervals over videos" in open_sweep("tiny", home).report("md")
    assert names(home) == before
    make_read_only(home)
    done = obeying("reproduce", "tiny/0", "--home", home, cwd=tmp_path)
    assert done.code == 3
    assert "the generated data cannot be written: Permission denied; use a home" in done.err


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """The home of a driver that has one trial and writes on."""
    home = tmp_path / "home"
    spec = small_spec()
    searcher = new_searcher(new_study(home, spec), spec)
    with closing(sqlite3.connect(home / "study.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    searcher.next()
    return home


def copied(home: Path, *endings: str) -> Path:
    target = home.parent / "copy"
    target.mkdir()
    for ending in endings:
        shutil.copy(home / f"study.db{ending}", target)
    return target


def test_a_copy_of_all_files_is_read(running: Path) -> None:
    copy = copied(running, "", "-wal")
    assert StudyReader.open(study_url(copy), "small").num_asked() == 1
    assert names(copy) == {"study.db", "study.db-wal"}


LOST = r"is a copy without the study\.db-wal .*; copy that too, or let .*`prvr-sweep sync small`"


def test_a_copy_without_the_log_is_known_by_its_trials(running: Path) -> None:
    copy = copied(running, "")
    # Nothing says that there is more.
    assert StudyReader.open(study_url(copy), "small").num_asked() == 0
    (copy / "small" / "trials" / "00000").mkdir(parents=True)
    with pytest.raises(StudyDatabaseError, match=LOST):
        StudyReader.open(study_url(copy), "small")


def test_a_copy_without_the_log_is_known_by_the_lack_of_sweeps(running: Path) -> None:
    copy = copied(running, "")
    with closing(sqlite3.connect(copy / "study.db")) as connection, connection:
        connection.execute("DELETE FROM studies")
    with closing(sqlite3.connect(copy / "study.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with pytest.raises(SweepNotFoundError, match=rf"sweeps there: none; the file {LOST}"):
        StudyReader.open(study_url(copy), "small")


def test_a_misspelt_name_is_no_lost_log(running: Path) -> None:
    copy = copied(running, "")
    with pytest.raises(SweepNotFoundError, match=r"sweeps there: small; did you mean small\?$"):
        StudyReader.open(study_url(copy), "smal")
    (copy / "outbox").mkdir()
    (copy / "outbox" / "other.jsonl").touch()
    with pytest.raises(SweepNotFoundError, match=r"sweeps there: small; .*`prvr-sweep sync other`"):
        StudyReader.open(study_url(copy), "other")
