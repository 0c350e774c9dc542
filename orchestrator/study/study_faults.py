"""Says which database it was that Optuna or SQLAlchemy could not use, and what to do about it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from orchestrator.base.errors import StudyDatabaseError


@contextmanager
def named_faults(place: str) -> Iterator[None]:
    """What goes wrong with a database within comes out as `StudyDatabaseError`.

    Args:
        place: The file, or the address without its password.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, RuntimeError) as error:
        # A RuntimeError is Optuna's about tables of another version.
        raise StudyDatabaseError(place, _found(error)) from error


def name_faults(engine: Engine, place: str) -> None:
    """The same for everything that is done with an engine from now on."""

    def name(context: Any) -> None:  # noqa: ANN401
        error = context.sqlalchemy_exception
        # Optuna expects a name or an attribute that is there already, SQLAlchemy a lost connection
        # to a server.
        is_expected = isinstance(error, IntegrityError) or context.is_pre_ping
        if error is not None and not is_expected:
            raise StudyDatabaseError(place, _found(error)) from error

    event.listen(engine, "handle_error", name)


def _found(error: BaseException) -> str:
    """The database's own words: Optuna's are about a commit, SQLAlchemy's hold the query."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    cause = cause.orig if isinstance(cause, DBAPIError) else cause
    lines = str(cause or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
