"""The entry point: errors that nobody foresaw, and the streams and variables that it is given."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator import cli
from tests.cases import rest_in_soak
from tests.orchestrator.command_line import TINY_SPACE, command, environment

SECRET = "postgresql://me:s3cr:t/@db/runs?sslpassword=hidden&x=1"
SPACE = TINY_SPACE.replace("Does a sweep run", "哪些 τ → does a sweep run")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that fails in a way that nobody foresaw."""

    @click.command()
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.option("--home")
    @click.option("--tracking-uri")
    def status(**_: object) -> None:
        raise KeyError(f"no host in {SECRET}\nand more")

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda *_: status)


def told(err: str) -> Path:
    """The report that the message names."""
    line = re.fullmatch(r"error: (.*); this was not foreseen: (\S+) has what a .* needs\n", err)
    assert line is not None, err
    masked = "KeyError: 'no host in postgresql://me:***@db/runs?sslpassword=***&x=1\\nand more'"
    assert line[1] == masked
    return Path(line[2])


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("form", [["--home", "{}"], ["--home={}"]])
def test_what_nobody_foresaw_is_one_line_and_a_report_in_the_home(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = [part.format(tmp_path) for part in form]
    assert cli.run(["status", "two words", "--tracking-uri", SECRET, *home]) == 1
    report = told(capsys.readouterr().err)
    assert report.parent == tmp_path
    text = report.read_text()
    assert re.match(r"prvr-sweep .*, python .*, torch .*, Linux", text)
    assert "prvr-sweep status 'two words' --tracking-uri 'postgresql://me:***@db/runs" in text
    assert "Traceback (most recent call last):" in text
    assert "s3cr" not in text
    assert "hidden" not in text


@pytest.mark.usefixtures("broken")
def test_without_a_home_the_report_is_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cli.run(["status", "--home", str(tmp_path / "missing")]) == 1
    assert told(capsys.readouterr().err).parent == tmp_path
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert cli.run(["status"]) == 1
    assert "no file could be written that says more" in capsys.readouterr().err


def plan(space: Path, *shell: str, **changes: str) -> subprocess.CompletedProcess[bytes]:
    """Plan a space as a shell starts it, with what the shell does to the streams."""
    arguments = " ".join(command("plan", space))
    return subprocess.run(
        ["bash", "-c", " ".join([arguments, *shell])],
        env={**environment(), **changes},
        capture_output=True,
        check=False,
    )


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.mark.parametrize("encoding", rest_in_soak(["ascii", "iso8859-1", "iso8859-1:strict"]))
def test_any_terminal_shows_any_letter(space: Path, encoding: str) -> None:
    done = plan(space, PYTHONUTF8="0", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    first = done.stdout.splitlines()[0]
    assert first.startswith(b"sweep tiny: ")
    assert first.endswith(b"does a sweep run from end to end?")


@pytest.mark.parametrize("closed", rest_in_soak(["<&- >&- 2>&-", "<&-", "<&- >&-", "<&- 2>&-"]))
def test_closed_streams_close_nothing_else(space: Path, closed: str) -> None:
    done = plan(space, closed)
    assert done.returncode == 0
    assert done.stderr == b""
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.soak
def test_variables_of_other_programs_end_no_import(tmp_path: Path) -> None:
    changes = {"MPLBACKEND": "Qt4Agg", "PYTHONWARNINGS": "error", "COLUMNS": "nonsense"}
    # It imports what draws the report before it looks for the file.
    done = subprocess.run(
        command("launch", tmp_path / "missing.yaml"),
        env={**environment(), **changes},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error_of_ours(space: Path) -> None:
    done = plan(space, "| true; exit ${PIPESTATUS[0]}")
    assert done.returncode in (0, 1)  # it may have written all of it before
    assert done.stderr == b""


def test_a_closed_stream_is_one_for_children_too() -> None:
    code = (
        "from orchestrator.cli import _settle_streams; _settle_streams(); import subprocess; "
        "import sys; print(subprocess.run(['ls', '-l', '/proc/self/fd/0']).returncode)"
    )
    done = subprocess.run(
        ["bash", "-c", f'exec "{sys.executable}" -c "{code}" <&-'],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith(f"{os.devnull}\n0\n")
