"""Where MLflow keeps a sweep's runs and models, and how MLflow behaves inside our process.

MLflow itself is not imported here, so that the command line can check a URI without its cost.
"""

import hashlib
import os
import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.base.addresses import sqlite_file, sqlite_url, user_path
from orchestrator.base.errors import TrackingError, TrackingOutageError
from orchestrator.base.machine import settle_user
from orchestrator.base.text import command, error_line
from prvr_model.files.location import local_path

DATABASE_FILE = "mlflow.db"
ARTIFACT_FOLDER = "mlartifacts"

_SERVER_SCHEMES = ("http", "https")
_PASSWORD = re.compile(r"(://[^:/@]*):[^@/]*@")
_HIDDEN = r"\1:PASSWORD@"
_DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")

# Read in the sources of MLflow 3.17 (`environment_variables`, `telemetry.utils`).
_ENVIRONMENT = {
    # Telemetry asks a server on the Internet for its configuration.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # stderr belongs to the sweep's progress; ours are the only messages that a user needs.
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # MLflow prints a link for each run that ends; stdout is the command's result.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own retries take up to four minutes, in which a sender could not be stopped.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Of PostgreSQL's own library, which would wait for minutes.
    "PGCONNECT_TIMEOUT": "20",
    # Saving a model would otherwise ask for the packages' newest versions.
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
}


@dataclass(frozen=True)
class TrackingStore:
    """Address of MLflow's runs and models.

    Args:
        uri: `http(s)://...` of an `mlflow server`, or an absolute database URI.
        artifact_root: URI of the folder for files; None leaves it to the server.
    """

    uri: str
    artifact_root: str | None

    @classmethod
    def of_home(cls, home: Path) -> "TrackingStore":
        """The default: an SQLite file and a folder in the sweep's home."""
        # Absolute, since trials change the working directory and MLflow resolves late.
        folder = home.absolute()
        return cls(sqlite_url(folder / DATABASE_FILE), (folder / ARTIFACT_FOLDER).as_uri())

    @classmethod
    def of(cls, uri: str | None, home: Path) -> "TrackingStore":
        """The store that `--tracking-uri` names; the home's default where `uri` is None.

        Raises:
            TrackingError: MLflow has no run table behind a URI of this kind.
            LocationError: Its file cannot be told, see `user_path`.
        """
        if uri is None:
            return cls.of_home(home)
        try:
            scheme = urlsplit(uri).scheme
        except ValueError as error:
            raise TrackingError(f"--tracking-uri {uri!r} is no address: {error}") from error
        if is_server(uri):
            return cls(uri.rstrip("/"), None)
        if scheme.split("+")[0] not in _DATABASE_SCHEMES:
            raise TrackingError(
                f"--tracking-uri {uri!r} cannot hold runs; give the address of an `mlflow server` "
                "(http://host:5000) or a database (sqlite:////absolute/file.db, postgresql://...)"
            )
        file = sqlite_file(uri)
        if file is None:
            return cls(uri, (home.absolute() / ARTIFACT_FOLDER).as_uri())
        return cls._of_file(uri, user_path(file))

    @classmethod
    def _of_file(cls, uri: str, file: Path) -> "TrackingStore":
        """The store in an SQLite file that a URI names."""
        if not file.is_absolute():
            raise TrackingError(
                f"--tracking-uri {uri!r} names a file relative to the working directory, which "
                f"differs from process to process; write {sqlite_url(file.absolute())}"
            )
        _, mark, options = uri.partition("?")
        if "/" in options:
            raise TrackingError(
                f"--tracking-uri {uri!r}: what follows ? are options of the database; write a "
                "question mark of a path as %3F"
            )
        return cls(f"{sqlite_url(file)}{mark}{options}", (file.parent / ARTIFACT_FOLDER).as_uri())

    @property
    def is_server(self) -> bool:
        """Whether the URI is that of an `mlflow server`."""
        return is_server(self.uri)

    @property
    def shown(self) -> str:
        """The URI with the word PASSWORD in place of its password."""
        return shown_uri(self.uri)

    @property
    def options(self) -> dict[str, Any]:
        """The options of a command that name this store, see `orchestrator.base.text.command`."""
        path = self.database
        if path is not None and path.name == DATABASE_FILE:
            return {"home": path.parent}
        return {"tracking_uri": self.shown}

    @property
    def short_name(self) -> str:
        """Name for a file, different for each URI."""
        return hashlib.sha256(self.uri.encode()).hexdigest()[:8]

    @property
    def database(self) -> Path | None:
        """The SQLite file; None for a server or another database."""
        return sqlite_file(self.uri)

    def check_exists(self) -> None:
        """Refuse an SQLite file that is missing or empty, before MLflow would make tables in it.

        Raises:
            TrackingError: The file is missing or empty, or this user may not look there.
        """
        path = self.database
        if path is not None and not _size_bytes(path):
            raise TrackingError(
                f"there is no MLflow database at {path}; "
                f"`{command('launch', 'SPACE.yaml', **self.options)}` makes it, "
                f"`{command('sync', 'SWEEP', **self.options)}` fills one that was lost; --home or "
                "--tracking-uri names another"
            )


def is_server(uri: str) -> bool:
    """Whether a URI is that of an `mlflow server`."""
    return urlsplit(uri).scheme in _SERVER_SCHEMES


def may_write(location: str, artifact_root: str | None) -> bool:
    """Whether files may be written at a location: not where a home was before it was moved.

    Args:
        location: Where MLflow keeps files of a run or a model.
        artifact_root: Of the store, see `TrackingStore`.
    """
    if artifact_root is None:
        return True
    path, root = local_path(location), local_path(artifact_root)
    return path is None or root is None or path.is_relative_to(root)


def shown_uri(uri: str) -> str:
    """A URI with the word PASSWORD in place of its password."""
    return _PASSWORD.sub(_HIDDEN, uri)


def experiment_name(data_set: str) -> str:
    """MLflow experiment, and registered model, of a data set.

    One experiment per data set, not per sweep: a user asks which settings are best on this data
    over all sweeps, and MLflow sorts, filters and compares within one experiment. In it each sweep
    is a parent run with its trials folded beneath, and its name is also the registered model's.
    """
    # Keeps the characters that MLflow accepts in a model's name and in a filter.
    return f"prvr-{re.sub(r'[^A-Za-z0-9_.-]+', '-', data_set)}"


def load_mlflow() -> None:
    """Settle and import MLflow, which takes seconds.

    Raises:
        TrackingOutageError: It cannot be imported.
    """
    settle_mlflow()
    try:
        import_module("mlflow")
    except Exception as error:
        raise TrackingOutageError(
            f"MLflow cannot be loaded: {error_line(error)}; `prvr-sweep doctor` says which "
            "installed packages do not fit together"
        ) from error


def settle_mlflow(environment: MutableMapping[str, str] = os.environ) -> None:
    """Silence MLflow and keep it off the Internet; call this before MLflow is imported.

    Variables that the user has set are kept.
    """
    settle_user(environment)
    for name, value in _ENVIRONMENT.items():
        environment.setdefault(name, value)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise TrackingError(
            f"the MLflow database {path} cannot be looked at: {error.strerror}; --home or "
            "--tracking-uri name another place"
        ) from error
