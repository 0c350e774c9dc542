"""Checks the tracking store and the study: reachable, and of a version that is known here."""

import shlex
from pathlib import Path

from packaging.specifiers import SpecifierSet

from orchestrator.base.addresses import sqlite_url
from orchestrator.base.errors import TrackingError
from orchestrator.preflight.check_packages import allowed_range, installed_version
from orchestrator.preflight.database_schema import (
    KnownSchemas,
    UnreadableDatabaseError,
    schema_version,
)
from orchestrator.preflight.finding import Finding, fine, problem, warning
from orchestrator.tracking.faults import NotMlflowError, ask, fault_of, server_version
from orchestrator.tracking.store import TrackingStore, shown_uri

_ANY_REQUEST = "/api/2.0/mlflow/experiments/search?max_results=1"


def check_tracking(uri: str | None, home: Path) -> Finding:
    """Where MLflow keeps runs: a server, or a database."""
    try:
        store = TrackingStore.of(uri, home)
    except TrackingError as error:
        return problem("tracking", str(error), "correct --tracking-uri")
    if store.is_server:
        return _check_server(store, allowed_range("mlflow"))
    upgrade = f"stop what uses it, copy it, then `mlflow db upgrade {shlex.quote(store.shown)}`"
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
    name = str(file or f"the database {shown_uri(url)}")
    if file is not None and not file.exists():
        return fine(check, f"{name} is not there yet; the first sweep makes it")
    try:
        version = schema_version(url)
    except UnreadableDatabaseError as error:
        if file is None:
            fault = fault_of(error, url)
            return problem(check, f"{name} cannot be used: {fault.found}", fault.remedy)
        remedy = f"move {name} away and put a copy back, or name another place"
        return problem(check, f"{name} cannot be read: {error}", remedy)
    schema = KnownSchemas.of(package).judge(version)
    installed = f"{package} {installed_version(package)}"
    if schema == "current":
        return fine(check, f"{name} has the schema of {installed}")
    if schema == "older":
        return problem(check, f"{name} has an older schema ({version}) than {installed}", upgrade)
    if schema == "none" and file is None:
        return fine(check, f"{name} answers; the first sweep makes its tables")
    if schema == "none":
        remedy = f"move {name} away, or name another place"
        return problem(check, f"{name} is not whole, or no database of {package}", remedy)
    return problem(
        check,
        f"{name} has a schema ({version}) that {installed} does not know",
        f"install the version of {package} that made it, or name another place",
    )


def _check_server(store: TrackingStore, known: SpecifierSet) -> Finding:
    uri = store.uri
    try:
        version = server_version(uri)
        # The version is told to everybody.
        ask(uri, _ANY_REQUEST)
    except (OSError, NotMlflowError) as error:
        fault = fault_of(error, uri)
        if not fault.is_away:
            return problem("tracking", f"{store.shown}: {fault.found}", fault.remedy)
        message = f"no MLflow server answers at {store.shown}: {fault.found}"
        return problem("tracking", message, f"{fault.remedy}; sweeps run without it as well")
    if known.contains(version, prereleases=True):
        return fine("tracking", f"{store.shown} answers, MLflow {version}")
    return warning(
        "tracking",
        f"{store.shown} answers, but with MLflow {version}; known here: {known}",
        "run the server with the version of MLflow that is installed here",
    )
