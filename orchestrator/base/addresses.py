"""Paths and addresses that a user gives, and URLs of SQLite files, built and parsed.

A path means what a shell takes it for: `~` and `~USER` at its beginning are home folders, `$NAME`
and `${NAME}` the values of environment variables. What cannot be replaced is refused by name. A
file or folder whose own name holds a `$` keeps it.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from orchestrator.base.errors import LocationError
from prvr_model.files.location import is_uri

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
# What ends the file of a URL, is lost there (readers of URLs drop tabs and line ends), or is a
# template to Optuna.
_SPECIAL_IN_URL = re.compile(r"[%?#${}\x00-\x1f\x7f]")
# Everything that a URI may hold, and what is quoted in it already.
_FREE_IN_URI = "/%:@!$&'()*+,;=~"


def user_path(given: str | Path, base: Path | None = None) -> Path:
    """The path that a user means.

    Args:
        given: As it was given; what is relative stays so.
        base: Folder that it is relative to; None: the working directory.

    Raises:
        LocationError: It is empty, names a user or a variable that is not known, or holds bytes
            that are no text.
    """
    text = str(given)
    if not text:
        raise LocationError(
            "found an empty path, perhaps of a variable that is not set; allowed: the name of a "
            "file or folder"
        )
    _refuse_bytes(text)
    path = Path(text)
    if text.startswith("~"):
        path = _below_home(path)
    return Path(_with_values(str(path), base or Path()))


def home_folder(given: str | Path) -> Path:
    """The absolute folder that a user means by a home, links followed; it need not exist.

    Raises:
        LocationError: As for `user_path`, or this user may not look into the folder.
    """
    try:
        folder = user_path(given).resolve()
        with suppress(FileNotFoundError, NotADirectoryError):
            (folder / "lock").stat()
    except (OSError, RuntimeError) as error:
        # A circle of links is a RuntimeError.
        reason = getattr(error, "strerror", None) or error
        raise LocationError(
            f"found {str(given)!r}, which cannot be looked into: {reason}; name a folder that this "
            "user can read"
        ) from error
    # The working directory has a say as well.
    _refuse_bytes(str(folder))
    return folder


def user_location(given: str, base: Path | None = None) -> str:
    """The path or URI that a user means, for trial folders and stores; letters of a URI quoted.

    Args:
        given: As it was given; a path that is relative stays so.
        base: As for `user_path`.

    Raises:
        LocationError: As for `user_path`.
    """
    if not is_uri(given):
        return str(user_path(given, base))
    _refuse_bytes(given)
    scheme, _, rest = given.partition("://")
    if scheme == "file":
        # Of this machine, and without options: whatever follows is the path.
        local = user_path(unquote(rest.removeprefix("/") if rest.startswith("/~") else rest))
        return f"file://{quote(str(local))}"
    path, mark, options = rest.partition("?")
    return f"{scheme}://{quote(_VARIABLE.sub(_value, path), safe=_FREE_IN_URI)}{mark}{options}"


def sqlite_url(file: Path) -> str:
    """URL of an SQLite file, as SQLAlchemy reads it; `sqlite_file` is its inverse."""
    path = _SPECIAL_IN_URL.sub(lambda found: quote(found[0]), str(file))
    # For a URL that begins with `sqlite:///` MLflow makes the folder that its text names, quoted
    # letters and all.
    scheme = "sqlite" if path == str(file) else "sqlite+pysqlite"
    return f"{scheme}:///{path}"


def sqlite_file(url: str) -> Path | None:
    """File of an SQLite URL, as SQLAlchemy reads it; None: another database."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(rest.partition("?")[0].partition("/")[2]))


def _refuse_bytes(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise LocationError(
            f"found {text!r}, which is not text in UTF-8; rename it, or name it by a link"
        ) from error
    if "\0" in text:
        raise LocationError(f"found {text!r}, which holds a zero byte; no path does")


def _below_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        user = path.parts[0]
        whose = f"user {user[1:]!r}" if user != "~" else "this user (HOME is not set)"
        raise LocationError(
            f"found {str(path)!r}: the home folder of {whose} is not known; write the folder "
            f"out, or ./{path} for a name that begins with ~"
        ) from error


def _with_values(path: str, base: Path) -> str:
    """A path with the values of variables; a name that is there stays as it is."""
    done: list[str] = []
    for part in path.split("/"):
        is_there = "$" not in part or os.path.lexists(base / "/".join([*done, part]))
        done.append(part if is_there else _VARIABLE.sub(_value, part))
    return "/".join(done)


def _value(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    if value := os.environ.get(name):
        return value
    raise LocationError(
        f"found {found.string!r}: the variable {name} is not set; set it, or write the path out"
    )
