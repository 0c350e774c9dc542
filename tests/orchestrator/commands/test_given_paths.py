"""`~` and `$NAME` mean in every option and argument what they mean in a shell."""

import os
from pathlib import Path

import pytest

from orchestrator import cli, open_sweep
from orchestrator.base.errors import SweepNotFoundError
from orchestrator.sweep.launch import LaunchResult
from orchestrator.tracking.store import TrackingStore
from tests.orchestrator.command_line import TINY_SPACE
from tests.prvr_model.store.corpora import tiny_corpus


@pytest.fixture(autouse=True)
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home folder; the working directory is another one, and stays empty."""
    folder = tmp_path / "me"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("ME", str(folder))
    monkeypatch.delenv("UNSET", raising=False)
    return folder


def ran(*arguments: str, code: int = 0) -> None:
    assert cli.run(list(arguments)) == code
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("place", ["~", "$ME", "${ME}"])
def test_options_of_a_launch(
    place: str, me: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = []

    def run(_: object, locations: object, *__: object) -> LaunchResult:
        launched.append(locations)
        raise SweepNotFoundError("none", "here", [])

    monkeypatch.setattr("orchestrator.sweep.launch.launch", run)
    options = [f"--home={place}/runs", "--storage", f"{place}/trials"]
    options += ["--tracking-uri", f"sqlite:///{place}/m.db"]
    ran("launch", f"{place}/tiny.yaml", *options, code=2)
    assert "no sweep 'none'" in capsys.readouterr().err
    found = launched[0]
    assert (found.home, found.storage) == (me / "runs", f"{me}/trials")
    assert found.tracking == TrackingStore(f"sqlite:///{me}/m.db", f"file://{me}/mlartifacts")


@pytest.mark.parametrize("place", ["~", "$ME"])
def test_options_and_arguments_of_other_commands(
    place: str, me: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_corpus().write(me / "root")
    store = f"{place}/x.store"
    corpus = ["--layout", "msc", "--root", f"{place}/root", "--collection", "tiny"]
    ran("data", "import", *corpus, store)
    assert (me / "x.store").is_dir()
    ran("data", "inspect", store)
    ran("plan", f"{place}/tiny.yaml", "--home", f"{place}/runs", "--storage", f"{place}/s")
    ran("doctor", f"{place}/tiny.yaml", f"--home={place}/runs", "--json", code=0)
    assert f"{me}/runs can be written" in capsys.readouterr().out
    ran("status", "tiny", "--home", f"{place}/runs", code=2)
    assert f"no sweep 'tiny' in sqlite:///{me}/runs/study.db" in capsys.readouterr().err
    ran("cluster", "check", f"{place}/no.yaml", code=2)
    assert f"{me}/no.yaml" in capsys.readouterr().err
    ran("ui", "--tracking-uri", f"sqlite:///{place}/m.db", code=2)
    assert f"no MLflow database at {me}/m.db" in capsys.readouterr().err
    with pytest.raises(SweepNotFoundError, match=f"{me}/runs/study.db"):
        open_sweep("tiny", f"{place}/runs")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["status", "tiny", "--home", "{}/x"], "--home"),
        (["plan", "{}/x"], "SPACE"),
        (["plan", "~/tiny.yaml", "--storage", "{}/x"], "--storage"),
        (["data", "inspect", "{}/x"], "STORE"),
        (["report", "tiny", "--output", "{}/x"], "--output"),
        (["reproduce", "tiny/0", "--keep", "{}/x"], "--keep"),
        (["resume", "tiny", "--storage", "s3://b/{}/x"], "--storage"),
    ],
)
def test_what_is_not_known_is_named(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(*(part.format("$UNSET") for part in arguments), code=2)
    said = capsys.readouterr().err
    assert option in said
    assert "the variable UNSET is not set; set it, or write the path out" in said
    if "s3" not in arguments[-1]:
        ran(*(part.format("~no.body") for part in arguments), code=2)
        assert "home folder of user 'no.body' is not known" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--home", "--storage", "--tracking-uri"])
def test_what_a_launch_does_not_know(
    option: str, me: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(me.iterdir())
    place = "sqlite:///$UNSET/m.db" if option == "--tracking-uri" else "$UNSET/x"
    ran("launch", "~/tiny.yaml", "--home", "~/runs", option, place, code=2)
    assert "the variable UNSET is not set" in capsys.readouterr().err
    ran("launch", "~/tiny.yaml", "--home", "", code=2)
    assert "found an empty path" in capsys.readouterr().err
    assert sorted(me.iterdir()) == before


def test_a_report_goes_where_it_may(me: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (me / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.report.publishing.report", lambda *_: None)
        patch.setattr("orchestrator.report.publishing.render", lambda *_: "text")
        ran("report", "tiny", "--output", "~/a.md")
        assert (me / "a.md").read_text() == "text"
        ran("report", "tiny", "--output", "~/folder", code=2)
        assert f"--output {me}/folder: cannot be written: Is a directory" in capsys.readouterr().err


def test_pages_of_a_home_that_cannot_be_written(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = home / "mlflow.db"
    monkeypatch.setattr("orchestrator.tracking.ui.serve_ui", lambda *_: 0)
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: access(path, mode) and path != database)
    ran("ui", "--home", str(home))
    said = f"{database} cannot be written: the pages show it, and change nothing"
    assert said in capsys.readouterr().err.splitlines()
