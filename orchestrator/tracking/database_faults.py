"""Says what keeps a database of MLflow from answering: for each cause a sentence and a remedy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from orchestrator.base.text import command, error_line, first_line
from orchestrator.tracking.store import TrackingStore, shown_uri
from prvr_model.errors import PrvrError

_Error = TypeVar("_Error", bound=BaseException)

# Words of SQLite's errors about a damaged file.
_DAMAGED = ("malformed", "not a database")
# Packages of drivers that are called otherwise than what is imported.
_PACKAGES = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}


@dataclass(frozen=True)
class Fault:
    """Why MLflow did not do what it was asked to.

    Args:
        found: What was found: a sentence about `it`, the server or database.
        remedy: What to do about it; empty if `found` says all that is known.
        is_away: Whether nothing answered at all.
    """

    found: str
    remedy: str = ""
    is_away: bool = False

    def __str__(self) -> str:
        return f"{self.found}; {self.remedy}" if self.remedy else self.found


# What a database says, what that means, and what is to be done; the words are PostgreSQL's and,
# where they differ, MySQL's and MLflow's.
_FAULTS = (
    (
        r"could not translate host name|Name or service not known|Unknown MySQL server host",
        "the name of its host does not resolve",
        "correct --tracking-uri, or this machine's name service",
    ),
    (
        r"Connection refused|Can't connect to MySQL",
        "it cannot be reached (nothing listens at {place})",
        "start the database server, or correct --tracking-uri",
    ),
    (
        r"timeout expired|timed out",
        "no answer in time from {place}",
        "see whether it is busy, or a firewall in the way",
    ),
    (
        r"password authentication failed|no password supplied|Access denied for user",
        "it refuses {user} or the password",
        "correct them in --tracking-uri",
    ),
    (
        r"no pg_hba.conf entry",
        "it does not let {user} in from this machine",
        "let its owner add a line for both to pg_hba.conf",
    ),
    (r'role "[^"]*" does not exist', "it does not know {user}", "correct --tracking-uri"),
    (
        r'database "[^"]*" does not exist|Unknown database',
        "it has no database {database}",
        "create it (`createdb {database}`), or correct --tracking-uri",
    ),
    (
        r"too many clients|remaining connection slots|Too many connections",
        "it has no connection left",
        "end what holds them, or raise its max_connections",
    ),
    (
        r"permission denied",
        "{user} may not do this in the database {database}",
        "let its owner grant it",
    ),
    (
        r"does not support SSL|SSL error|certificate verify failed",
        "its TLS does not fit ({said})",
        "correct sslmode or sslrootcert in --tracking-uri",
    ),
    (r"database system is (?:starting|shutting)", "it starts or ends just now", "try again later"),
    (
        r"out-of-date database schema",
        "its tables are of another version of MLflow",
        "stop what uses it, copy it, then `mlflow db upgrade URI`",
    ),
)


def causes_of(error: BaseException) -> list[BaseException]:
    """An error and what led to it, the first cause last."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    return causes


def first_of(causes: Sequence[BaseException], *kinds: type[_Error]) -> _Error | None:
    """The first of some errors that is of one of these classes."""
    return next((cause for cause in causes if isinstance(cause, kinds)), None)


def database_fault(causes: Sequence[BaseException], uri: str) -> Fault | None:
    """Why a database server refuses; None: the error's own words are all that is known.

    Args:
        causes: See `causes_of`.
        uri: Address of the database.
    """
    parts = urlsplit(uri)
    if (missing := first_of(causes, ModuleNotFoundError)) is not None:
        driver = missing.name or "of this database"
        return Fault(
            f"the driver {driver} for {parts.scheme} is not installed",
            f"`pip install {_PACKAGES.get(driver, driver)}`",
        )
    text = "\n".join(map(str, causes))
    for pattern, found, remedy in _FAULTS:
        if re.search(pattern, text):
            words = {
                "place": parts.netloc.rpartition("@")[2],
                "user": f"the user {parts.username}" if parts.username else "this user",
                "database": parts.path.lstrip("/"),
                "said": own_words(causes[0], uri).found,
            }
            return Fault(found.format(**words), remedy.format(**words))
    return None


def own_words(error: BaseException, uri: str) -> Fault:
    """An error in its own words, without the address's password.

    Messages of MLflow, SQLAlchemy and the system are sentences; others need their class.
    """
    is_sentence = isinstance(error, OSError | PrvrError) or _is_of(error, "mlflow", "sqlalchemy")
    text = (first_line(str(error)) if is_sentence else "") or error_line(error)
    text = text.replace(uri, shown_uri(uri))
    is_damaged = any(word in text for word in _DAMAGED)
    return Fault(text, damaged_advice(uri) if is_damaged else "")


def _is_of(error: BaseException, *packages: str) -> bool:
    return type(error).__module__.partition(".")[0] in packages


def damaged_advice(uri: str) -> str:
    """What to do about a damaged SQLite file."""
    path = TrackingStore(uri, None).database
    resume = command("resume", "SWEEP", home=path.parent if path else None)
    return (
        f"put a copy of the file back, or move it away and `{resume}` for each sweep of the home, "
        "which sends everything again and registers the models"
    )
