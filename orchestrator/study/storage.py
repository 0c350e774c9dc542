"""Opens the database of the studies with Optuna: an SQLite file of the home, or another database.

Readers of a file write nothing and hold it only while they read. A driver keeps it open, in WAL
mode, until `close_writing`.

Errors of Optuna and SQLAlchemy become `StudyDatabaseError`, which names the database and a remedy.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Engine, ScalarSelect, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from orchestrator.base.addresses import sqlite_file, sqlite_url
from orchestrator.base.errors import StudyDatabaseError, SweepNotFoundError, lost_log
from orchestrator.base.sqlite_files import (
    lacks_log,
    make_whole,
    open_reading,
    what_is_torn,
)
from orchestrator.base.text import first_line
from orchestrator.study.joint_record import parts_note
from orchestrator.study.loaded_study import LoadedStudy

# A reader locks SQLite for milliseconds; a copy or a backup of the file may lock it for longer.
_SQLITE_BUSY_S = 60

REQUEST = "request"
"""Attribute of a trial that holds its description, see `SweepStudy.describe`."""


# Of SQLite files that this process writes.
_writing: WeakSet[Engine] = WeakSet()


def study_file(home: Path) -> Path:
    """File of the studies of a home folder, absolute."""
    return home.resolve() / "study.db"


def study_url(home: Path) -> str:
    """The same as an Optuna storage."""
    return sqlite_url(study_file(home))


def shown_url(url: str) -> str:
    """A storage URL without its password."""
    is_file = sqlite_file(url) is not None
    return url if is_file else make_url(url).render_as_string(hide_password=True)


def reading_storage(url: str) -> optuna.storages.RDBStorage:
    """A storage for reading; an SQLite file is opened read-only."""
    path = sqlite_file(url)
    if path is None:
        return _named(url, lambda: optuna.storages.RDBStorage(url))
    _refuse_torn(path)
    arguments = _reading(path)
    return _named(
        url,
        lambda: optuna.storages.RDBStorage(
            "sqlite://", engine_kwargs=arguments, skip_table_creation=True
        ),
    )


def writing_storage(url: str) -> optuna.storages.RDBStorage:
    """A storage for the driver; created if it is missing."""
    path = sqlite_file(url)
    if path is None:
        return _named(url, lambda: optuna.storages.RDBStorage(url))
    _refuse_torn(path)
    return _named(url, lambda: _written_storage(url, path))


def close_writing() -> None:
    """Close the SQLite files that this process has open to write; their next use opens them."""
    for engine in list(_writing):
        engine.dispose()


def _reading(path: Path) -> dict[str, Any]:
    """Arguments of an engine that writes nothing and has no connection open between two looks."""
    return {"creator": lambda: open_reading(path, _SQLITE_BUSY_S), "poolclass": NullPool}


def _written_storage(url: str, path: Path) -> optuna.storages.RDBStorage:
    make_whole(path, _make_tables)
    with closing(sqlite3.connect(path, timeout=_SQLITE_BUSY_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    arguments = {"connect_args": {"timeout": _SQLITE_BUSY_S}}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    event.listen(storage.engine, "connect", _relax)
    storage.engine.dispose()
    _writing.add(storage.engine)
    return storage


def _named(url: str, make: Callable[[], optuna.storages.RDBStorage]) -> optuna.storages.RDBStorage:
    """A storage whose errors name its database, those of opening it included."""
    database = _database(url)
    with named_faults(database):
        storage = make()
    name_faults(storage.engine, database)
    return storage


def _refuse_torn(path: Path) -> None:
    if lacks := what_is_torn(path):
        raise StudyDatabaseError(str(path), lacks)


def _database(url: str) -> str:
    return str(sqlite_file(url) or shown_url(url))


def _make_tables(url: str) -> None:
    storage = optuna.storages.RDBStorage(url)
    storage.remove_session()
    storage.engine.dispose()


def _relax(connection: sqlite3.Connection, record: object) -> None:
    """Let the system decide when a commit reaches the disk; the write-ahead log keeps the order.

    This saves 20 flushes per trial. A killed process loses nothing. A power cut loses the last
    moments, as if it had come earlier: trials report again from their checkpoints, and the same
    trials are drawn again.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def load_study(storage: optuna.storages.RDBStorage, url: str, name: str) -> LoadedStudy:
    """A study by name, to be read.

    Raises:
        SweepNotFoundError: There is none; the message lists the existing ones.
    """
    names: list[str] = []
    with suppress(KeyError):
        names = optuna.get_all_study_names(storage)
        return LoadedStudy(storage, name)
    path = sqlite_file(url)
    has_lost = path is not None and lacks_log(path) and (not names or _was_here(path, name))
    note = lost_log(name) if has_lost else parts_note(path.parent, name) if path else None
    raise SweepNotFoundError(name, shown_url(url), names, note)


def _was_here(path: Path, sweep: str) -> bool:
    """Whether a sweep that the study does not have has left something beside it."""
    return (path.parent / "outbox" / f"{sweep}.jsonl").exists() or (path.parent / sweep).exists()


def drop_empty(storage: optuna.storages.RDBStorage, name: str) -> None:
    """Remove a study that has no trial."""
    if name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        if not study.get_trials(deepcopy=False):
            optuna.delete_study(study_name=name, storage=storage)


@dataclass(frozen=True)
class EndedTrial:
    """A complete or pruned trial as its study records it, read by `ended_trials`.

    `taken_from` is the trial (`SWEEP/NUMBER`) whose results it copied, all that it has.
    `KnownTrial` in `reuse` is what is kept of it under its key.
    """

    sweep: str
    number: int
    key: str
    folder: str
    taken_from: str | None
    is_complete: bool = True


def ended_trials(url: str) -> Iterator[EndedTrial]:
    """Complete trials of all studies in a storage, newest first, then pruned ones by epochs."""
    yield from complete_trials(url)
    yield from _described(url, TrialState.PRUNED, _last_step().desc())


def complete_trials(url: str) -> Iterator[EndedTrial]:
    """Complete trials of all studies in a storage, newest first."""
    yield from _described(url, TrialState.COMPLETE, models.TrialModel.trial_id.desc())


def _last_step() -> ScalarSelect[int]:
    """The last epoch of a trial."""
    step = models.TrialIntermediateValueModel
    query = select(func.max(step.step)).where(step.trial_id == models.TrialModel.trial_id)
    return query.scalar_subquery()


def _described(url: str, state: TrialState, order: ColumnElement[Any]) -> Iterator[EndedTrial]:
    """Trials of all studies in a storage that are in a state.

    One query reads three columns; Optuna would read every trial whole.
    """
    known = models.TrialUserAttributeModel
    query = (
        select(models.StudyModel.study_name, models.TrialModel.number, known.value_json)
        .join(models.TrialModel, models.TrialModel.study_id == models.StudyModel.study_id)
        .join(known, known.trial_id == models.TrialModel.trial_id)
        .where(models.TrialModel.state == state, known.key == REQUEST)
        .order_by(order)
    )
    path = sqlite_file(url)
    if path is not None and not path.exists():
        return
    if path is not None:
        _refuse_torn(path)
    engine = create_engine(url) if path is None else create_engine("sqlite://", **_reading(path))
    name_faults(engine, _database(url))
    try:
        with engine.connect() as connection:
            for sweep, number, text in connection.execute(query):
                request = json.loads(text)
                # What was taken over of a pruned trial is a part of what this one has.
                is_own = "taken_epochs" in request or state is TrialState.PRUNED
                yield EndedTrial(
                    sweep,
                    number,
                    request.get("key", ""),
                    request.get("folder", ""),
                    None if is_own else request.get("taken_from"),
                    state is TrialState.COMPLETE,
                )
    finally:
        engine.dispose()


def reopen_trials(
    url: str, name: str, attributes: Mapping[str, Any], marks: Mapping[int, Mapping[str, Any]]
) -> None:
    """Set finished trials to running again and change study attributes, in one transaction.

    This writes Optuna's own tables, since Optuna never changes a finished trial. Optuna also caches
    finished trials: open the study only afterwards.

    Args:
        url: Storage of the study.
        name: Its name.
        attributes: Attributes of the study that change.
        marks: Attributes of each trial to be opened again, by trial number.
    """
    with Session(writing_storage(url).engine) as session, session.begin():
        study = models.StudyModel.find_or_raise_by_name(name, session)
        for key, value in attributes.items():
            _set_study_attribute(session, study, key, value)
        for trial in session.query(models.TrialModel).filter_by(study_id=study.study_id):
            if found := marks.get(int(trial.number)):
                _reopen(session, trial, found)


def set_study_attributes(url: str, name: str, attributes: Mapping[str, Any]) -> None:
    """Set attributes of a study in one transaction; the study need not be open."""
    reopen_trials(url, name, attributes, {})


def mark_trials(url: str, name: str, marks: Mapping[int, Mapping[str, Any]]) -> None:
    """Set attributes of finished trials, by number, in one transaction."""
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
def named_faults(database: str) -> Iterator[None]:
    """Turn errors of a database inside the block into `StudyDatabaseError`.

    Args:
        database: The file, or the address without its password.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, RuntimeError) as error:
        # Optuna raises RuntimeError for tables of another version.
        found = _found(error)
        is_in_log = "no such table" in found and lacks_log(Path(database))
        raise StudyDatabaseError(database, lost_log("SWEEP") if is_in_log else found) from error


def name_faults(engine: Engine, database: str) -> None:
    """Turn every later error of an engine into `StudyDatabaseError`."""

    def name(context: Any) -> None:  # noqa: ANN401
        error = context.sqlalchemy_exception
        # Optuna handles a name or attribute that exists already, SQLAlchemy a lost connection to a
        # server.
        is_expected = isinstance(error, IntegrityError) or context.is_pre_ping
        if error is not None and not is_expected:
            raise StudyDatabaseError(database, _found(error)) from error

    event.listen(engine, "handle_error", name)


def _found(error: BaseException) -> str:
    """The database's own error text; Optuna's is about a commit, SQLAlchemy's holds the query."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    cause = cause.orig if isinstance(cause, DBAPIError) else cause
    return first_line(str(cause or error)) or type(error).__name__
