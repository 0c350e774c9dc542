"""Checks the tracking store and the study: reachable, and of a version that is known here."""

import shlex
import urllib.error
import urllib.request
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from orchestrator.base.addresses import sqlite_url
from orchestrator.base.errors import TrackingError
from orchestrator.preflight.check_packages import allowed_range, installed_version
from orchestrator.preflight.database_schema import (
    KnownSchemas,
    UnreadableDatabaseError,
    schema_version,
)
from orchestrator.preflight.finding import Finding, fine, problem, warning
from orchestrator.tracking.store import TrackingStore

# A slower server would hold up no trial, but its pages would be of no use.
_TIMEOUT_S = 10.0
_DENIED = (401, 403)
_LONGEST_VERSION = 100


def check_tracking(uri: str | None, home: Path) -> Finding:
    """Where MLflow keeps runs: a server, or a database."""
    try:
        store = TrackingStore.of(uri, home)
    except TrackingError as error:
        return problem("tracking", str(error), "correct --tracking-uri")
    if store.is_server:
        return _check_server(store.uri, allowed_range("mlflow"))
    upgrade = f"stop what uses it, copy it, then `mlflow db upgrade {shlex.quote(store.uri)}`"
    return check_database("tracking", "mlflow", store.uri, store.database, upgrade)


def check_study(home: Path) -> Finding:
    """The database of the home's studies."""
    path = home.resolve() / "study.db"
    url = sqlite_url(path)
    upgrade = (
        f"stop what uses it, copy it, then `optuna storage upgrade --storage {shlex.quote(url)}`"
    )
    return check_database("study", "optuna", url, path, upgrade)


def check_database(check: str, package: str, url: str, file: Path | None, upgrade: str) -> Finding:
    """The schema of a database against what the installed package knows.

    Args:
        check: What the finding is called.
        package: `mlflow` or `optuna`.
        url: SQLAlchemy URL.
        file: The SQLite file; None for another database.
        upgrade: What mends a schema of an older version.
    """
    name = str(file or "the database")
    if file is not None and not file.exists():
        return fine(check, f"{name} is not there yet; the first sweep makes it")
    try:
        version = schema_version(url)
    except UnreadableDatabaseError as error:
        remedy = f"move {name} away and put a copy back, or name another place"
        return problem(check, f"{name} cannot be read: {error}", remedy)
    schema = KnownSchemas.of(package).judge(version)
    installed = f"{package} {installed_version(package)}"
    if schema == "current":
        return fine(check, f"{name} has the schema of {installed}")
    if schema == "older":
        return problem(check, f"{name} has an older schema ({version}) than {installed}", upgrade)
    if schema == "none":
        remedy = f"move {name} away, or name another place"
        return problem(check, f"{name} is not whole, or no database of {package}", remedy)
    return problem(
        check,
        f"{name} has a schema ({version}) that {installed} does not know",
        f"install the version of {package} that made it, or name another place",
    )


def _check_server(uri: str, known: SpecifierSet) -> Finding:
    remedy = "start it (`mlflow server`), or correct --tracking-uri; sweeps run without it as well"
    try:
        with urllib.request.urlopen(f"{uri}/version", timeout=_TIMEOUT_S) as answer:
            version = answer.read(_LONGEST_VERSION).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        return _answered_otherwise(uri, error)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return problem("tracking", f"no MLflow server answers at {uri}: {reason}", remedy)
    try:
        is_known = known.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return problem("tracking", f"{uri} answers, but not as an MLflow server", remedy)
    if is_known:
        return fine("tracking", f"{uri} answers, MLflow {version}")
    return warning(
        "tracking",
        f"{uri} answers, but with MLflow {version}; known here: {known}",
        "run the server with the version of MLflow that is installed here",
    )


def _answered_otherwise(uri: str, error: urllib.error.HTTPError) -> Finding:
    message = f"{uri} answers {error.code} ({error.reason})"
    if error.code in _DENIED:
        remedy = (
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            "a server refuses names that are not in its --allowed-hosts"
        )
        return problem("tracking", message, remedy)
    return problem("tracking", message, "look into the server's log, or correct --tracking-uri")
