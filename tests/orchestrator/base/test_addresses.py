"""Paths mean what a shell takes them for, and URLs of files lead to these files."""

import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from orchestrator.base.addresses import (
    home_folder,
    sqlite_file,
    sqlite_url,
    user_location,
    user_path,
)
from orchestrator.base.errors import LocationError
from prvr_model.files.folder import Folder
from tests.orchestrator.odd_names import ODD_NAMES
from tests.prvr_model.files.test_location import NAMES


@given(st.lists(NAMES, min_size=1, max_size=4))
@example(list(ODD_NAMES))
def test_a_url_is_read_as_it_was_built(names: list[str]) -> None:
    path = Path("/", *names)
    url = sqlite_url(path)
    assert sqlite_file(url) == path
    assert make_url(url).database == str(path)
    # Where others take it apart: MLflow by its parts, Optuna as a template.
    assert urlsplit(url)[2:] == (url.partition("://")[2].removeprefix("/").join(["/", ""]), "", "")
    assert url.format() == url
    # What others make of its text is the path, or they leave it alone.
    assert url == f"sqlite:///{path}" or not url.startswith("sqlite:///")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_database_is_where_its_url_says(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "study.db"
    path.parent.mkdir()
    engine = create_engine(sqlite_url(path))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE made (number INTEGER)"))
    engine.dispose()
    assert list(tmp_path.rglob("*")) == [path.parent, path]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("made",)]
    connection.close()


def test_urls_of_other_databases() -> None:
    assert sqlite_file("postgresql://me:secret@host/runs") is None
    assert sqlite_file("http://host:5000") is None
    assert sqlite_file("sqlite+pysqlite:////a%20b/m.db?timeout=5") == Path("/a b/m.db")
    assert sqlite_file("sqlite:///m.db") == Path("m.db")
    assert sqlite_url(Path("/home/größe/study.db")) == "sqlite:////home/größe/study.db"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", f"{tmp_path}/da ta#")
    monkeypatch.setenv("NAME", "mine")
    monkeypatch.delenv("UNSET", raising=False)
    return tmp_path


def test_what_a_shell_replaces(home: Path) -> None:
    assert user_path("~") == home
    assert user_path("~/runs/") == home / "runs"
    assert user_path("~root/runs") == Path("~root").expanduser() / "runs"
    assert user_path("$DATA/x.store") == home / "da ta#/x.store"
    assert user_path("/a/${NAME}-$NAME/$5/$") == Path("/a/mine-mine/$5/$")
    assert user_path("a/$DATA") == Path(f"a/{home}/da ta#")
    assert user_path("a/~") == Path("a/~")
    assert user_path("./~") == Path("~")


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_other_paths_stay(names: list[str]) -> None:
    path = "/" + "/".join(name.replace("$", "$ ") for name in names)
    assert user_path(path) == Path(path)
    assert user_location(path) == str(Path(path))
    assert user_path(f"{path}/") == Path(path)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("~nobody.there/x", "the home folder of user 'nobody.there' is not known"),
        ("/a/$UNSET/b", "the variable UNSET is not set"),
        ("${UNSET}", "the variable UNSET is not set"),
        ("", "found an empty path"),
        ("a\0b", "holds a zero byte"),
        ("a\udcff", "not text in UTF-8"),
    ],
)
@pytest.mark.usefixtures("home")
def test_what_cannot_be_replaced_is_named(given: str, problem: str) -> None:
    with pytest.raises(LocationError, match=problem) as caught:
        user_path(given)
    assert repr(given.strip("/").split("/")[0]).strip("'") in str(caught.value) or not given
    for location in (given, f"s3://bucket/{given}"):
        if "$" in given:
            with pytest.raises(LocationError, match=problem):
                user_location(location)


def test_what_is_there_under_its_own_name(home: Path) -> None:
    """Commands that are printed with such a path must work as printed."""
    (home / "$NAME" / "${UNSET}").mkdir(parents=True)
    assert user_path(home / "$NAME/${UNSET}/new") == home / "$NAME/${UNSET}/new"
    assert user_path("$NAME/x", base=home) == Path("$NAME/x")
    assert user_path("$NAME/x", base=home / "$NAME") == Path("mine/x")


def test_uris(home: Path) -> None:
    assert user_location("file:///~/a b#?c") == f"file://{home}/a%20b%23%3Fc"
    assert user_location("file://~/a%20b") == f"file://{home}/a%20b"
    assert user_location("file://$DATA/x") == f"file://{home}/da%20ta%23/x"
    assert Folder.open(user_location("file:///~/a b#?c")).path == f"{home}/a b#?c"
    options = "?endpoint_override=h%3A1&region=eu"
    assert user_location(f"s3://b/$NAME/run #3%20ü/~{options}") == (
        f"s3://b/mine/run%20%233%20%C3%BC/~{options}"
    )
    assert user_location("s3://key:secret@b/x") == "s3://key:secret@b/x"


def test_a_home_is_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert home_folder("runs") == home_folder("~/runs") == home / "runs"
    (home / "file").touch()
    assert home_folder("file/runs") == home / "file" / "runs"
    with pytest.raises(LocationError, match="File name too long"):
        home_folder("x" * 300)
    (home / "circle").symlink_to("circle")
    with pytest.raises(LocationError, match="cannot be looked into"):
        home_folder("circle/runs")


def test_a_working_directory_that_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a\udcff"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(LocationError, match="not text in UTF-8"):
        home_folder("runs")
