"""Where studies are kept: an SQLite file of the home, or another database, opened by Optuna.

An error of Optuna or SQLAlchemy becomes one that names the database and what to do about it.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from orchestrator.base.errors import StudyDatabaseError, SweepNotFoundError
from orchestrator.base.sqlite_files import make_whole, what_is_torn
from orchestrator.base.text import first_line

# A reader holds SQLite for milliseconds; a copy or a backup of the file may hold it for longer.
_SQLITE_BUSY_S = 60

REQUEST = "request"
"""Attribute of a trial that says what it is, see `SweepStudy.describe`."""


def study_url(home: Path) -> str:
    """Storage of the studies of a home folder, by absolute path."""
    return f"sqlite:///{home.resolve()}/study.db"


def shown_url(url: str) -> str:
    """A storage URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def sqlite_path(url: str) -> Path | None:
    """File of an SQLite storage; None: another database."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database)


def reading_storage(url: str) -> optuna.storages.RDBStorage:
    """A storage that cannot be written."""
    path = sqlite_path(url)
    if path is None:
        return _named(url, lambda: optuna.storages.RDBStorage(url))
    reading_url = f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true"
    _refuse_torn(path)
    return _named(url, lambda: _sqlite_storage(reading_url, skip_table_creation=True))


def writing_storage(url: str) -> optuna.storages.RDBStorage:
    """A storage for the driver, made if it is missing."""
    path = sqlite_path(url)
    if path is None:
        return _named(url, lambda: optuna.storages.RDBStorage(url))
    _refuse_torn(path)
    return _named(url, lambda: _written_storage(url, path))


def _written_storage(url: str, path: Path) -> optuna.storages.RDBStorage:
    make_whole(path, _make_tables)
    with closing(sqlite3.connect(path, timeout=_SQLITE_BUSY_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    storage = _sqlite_storage(url)
    event.listen(storage.engine, "connect", _relax)
    storage.engine.dispose()
    return storage


def _sqlite_storage(url: str, *, skip_table_creation: bool = False) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": _SQLITE_BUSY_S}},
        skip_table_creation=skip_table_creation,
    )


def _named(url: str, make: Callable[[], optuna.storages.RDBStorage]) -> optuna.storages.RDBStorage:
    """A storage whose errors, from the first look at it on, say which one it is."""
    place = _place(url)
    with named_faults(place):
        storage = make()
    name_faults(storage.engine, place)
    return storage


def _refuse_torn(path: Path) -> None:
    if lacks := what_is_torn(path):
        raise StudyDatabaseError(str(path), lacks)


def _place(url: str) -> str:
    return str(sqlite_path(url) or shown_url(url))


def _make_tables(url: str) -> None:
    storage = optuna.storages.RDBStorage(url)
    storage.remove_session()
    storage.engine.dispose()


def _relax(connection: sqlite3.Connection, record: object) -> None:
    """Leave it to the system when a commit reaches the disk: a write-ahead log keeps the order.

    A killed process loses nothing. A power cut loses the last moments, as if it had come earlier:
    trials report again from their checkpoints, and draws repeat. It saves 20 flushes a trial.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def load_study(storage: optuna.storages.RDBStorage, url: str, name: str) -> optuna.Study:
    """A study by name.

    Raises:
        SweepNotFoundError: There is none; names those there are.
    """
    names: list[str] = []
    with suppress(KeyError):
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage)
    raise SweepNotFoundError(name, shown_url(url), names)


def drop_empty(storage: optuna.storages.RDBStorage, name: str) -> None:
    """Remove a study that has no trial."""
    if name in optuna.get_all_study_names(storage):
        there = optuna.load_study(study_name=name, storage=storage)
        if not there.get_trials(deepcopy=False):
            optuna.delete_study(study_name=name, storage=storage)


@dataclass(frozen=True)
class CompleteTrial:
    """A complete trial of any study: its key, its folder and whose results it took over."""

    sweep: str
    number: int
    key: str
    folder: str
    taken_from: str | None


def complete_trials(url: str) -> Iterator[CompleteTrial]:
    """Complete trials of all studies in a storage, newest first, as they were described.

    In one query of two columns more than their number: Optuna would read every trial whole.
    """
    known = models.TrialUserAttributeModel
    query = (
        select(models.StudyModel.study_name, models.TrialModel.number, known.value_json)
        .join(models.TrialModel, models.TrialModel.study_id == models.StudyModel.study_id)
        .join(known, known.trial_id == models.TrialModel.trial_id)
        .where(models.TrialModel.state == TrialState.COMPLETE, known.key == REQUEST)
        .order_by(models.TrialModel.trial_id.desc())
    )
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return
    if path is not None:
        _refuse_torn(path)
    engine = create_engine(url)
    name_faults(engine, _place(url))
    try:
        with engine.connect() as connection:
            for sweep, number, text in connection.execute(query):
                request = json.loads(text)
                yield CompleteTrial(
                    sweep,
                    number,
                    request.get("key", ""),
                    request.get("folder", ""),
                    request.get("taken_from"),
                )
    finally:
        engine.dispose()


def reopen_trials(
    url: str, name: str, attributes: Mapping[str, Any], marks: Mapping[int, Mapping[str, Any]]
) -> None:
    """Set finished trials to running again and change attributes of the study, all at once.

    Optuna takes a finished trial for finished for ever, and caches it so: the study is to be
    opened afterwards. Its own tables are written here, in one transaction.

    Args:
        url: Storage of the study.
        name: Its name.
        attributes: Attributes of the study that change.
        marks: By trial number, attributes of each trial to be opened again.
    """
    with Session(writing_storage(url).engine) as session, session.begin():
        study = models.StudyModel.find_or_raise_by_name(name, session)
        for key, value in attributes.items():
            _set_study_attribute(session, study, key, value)
        for trial in session.query(models.TrialModel).filter_by(study_id=study.study_id):
            if found := marks.get(int(trial.number)):
                _reopen(session, trial, found)


def set_study_attributes(url: str, name: str, attributes: Mapping[str, Any]) -> None:
    """Set attributes of a study that need not be open, all at once."""
    reopen_trials(url, name, attributes, {})


def mark_trials(url: str, name: str, marks: Mapping[int, Mapping[str, Any]]) -> None:
    """Set attributes of trials that are finished, by number; all at once, as `reopen_trials`."""
    with Session(writing_storage(url).engine) as session, session.begin():
        study = models.StudyModel.find_or_raise_by_name(name, session)
        for trial in session.query(models.TrialModel).filter_by(study_id=study.study_id):
            if found := marks.get(int(trial.number)):
                _mark(session, trial, found)


def _reopen(session: Session, trial: models.TrialModel, marks: Mapping[str, Any]) -> None:
    trial.state = TrialState.RUNNING
    trial._datetime_complete_utc = None
    trial.values.clear()
    _mark(session, trial, marks)


def _mark(session: Session, trial: models.TrialModel, marks: Mapping[str, Any]) -> None:
    known = models.TrialUserAttributeModel
    for key, value in marks.items():
        row = known.find_by_trial_and_key(trial, key, session)
        if row is None:
            row = known(trial_id=trial.trial_id, key=key)
            session.add(row)
        row.value_json = json.dumps(value)


def _set_study_attribute(
    session: Session,
    study: models.StudyModel,
    key: str,
    value: Any,  # noqa: ANN401
) -> None:
    row = models.StudyUserAttributeModel.find_by_study_and_key(study, key, session)
    if row is None:
        row = models.StudyUserAttributeModel(study_id=study.study_id, key=key)
        session.add(row)
    row.value_json = json.dumps(value)


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
    return first_line(str(cause or error)) or type(error).__name__
