"""A study as it was when it was read: whole, in memory, by one query a table.

Optuna's own storage reads a trial by a query for each of its tables, a hundred times as slow.
"""

import gc
import json
import sys
from collections import defaultdict
from collections.abc import Container, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Select, select

# Studies may change while one is read; these databases then show one moment of it.
_ONE_MOMENT = "REPEATABLE READ"

_as_distribution = lru_cache(maxsize=4096)(json_to_distribution)


@contextmanager
def without_collection() -> Iterator[None]:
    """Leave the search for garbage until after the block.

    It goes through all objects whenever many were made, which takes as long as to read a study.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class LoadedStudy(InMemoryStorage):
    """One study of a database; its trials are read when they are first asked for.

    Args:
        backend: The database.
        name: Name of a study in it.

    Raises:
        KeyError: There is no such study.
    """

    def __init__(self, backend: RDBStorage, name: str) -> None:
        super().__init__()
        self._backend = backend
        self._rows: dict[int, int] = {}
        self._is_read = False
        self._study_row = backend.get_study_id_from_name(name)
        self._study = self.create_new_study(backend.get_study_directions(self._study_row), name)
        info = self._studies[self._study]
        info.user_attrs = backend.get_study_user_attrs(self._study_row)
        info.system_attrs = backend.get_study_system_attrs(self._study_row)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials by number."""
        self._read()
        return super().get_all_trials(study_id, deepcopy, states)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial; changes of the object change nothing here."""
        self._read()
        return copy(super().get_trial(trial_id))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """The id by which a trial is asked for."""
        self._read()
        return super().get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best complete trial."""
        self._read()
        return super().get_best_trial(study_id)

    def _read(self) -> None:
        """Read the trials, once."""
        if self._is_read:
            return
        self._is_read = True
        engine = self._backend.engine
        if engine.dialect.name != "sqlite":
            engine = engine.execution_options(isolation_level=_ONE_MOMENT)
        with without_collection(), engine.connect() as connection:
            for trial in _trials(connection, self._study_row):
                self._keep(trial)

    def _keep(self, trial: FrozenTrial) -> None:
        self._max_trial_id += 1
        trial_id = self._max_trial_id
        self._rows[trial_id] = trial._trial_id
        trial._trial_id = trial_id
        trial.number = len(self._studies[self._study].trials)
        self._trial_id_to_study_id_and_number[trial_id] = (self._study, trial.number)
        self._studies[self._study].trials.append(trial)
        self._studies[self._study].param_distribution.update(trial.distributions)
        self._update_cache(trial_id, self._study)


def _trials(connection: Connection, study_row: int) -> Iterator[FrozenTrial]:
    table = models.TrialModel.__table__
    # The trials first: one that began in between would have no attributes.
    found = connection.execute(
        select(
            table.c.trial_id,
            table.c.number,
            table.c.state,
            table.c.datetime_start,
            table.c.datetime_complete,
        )
        .where(table.c.study_id == study_row)
        .order_by(table.c.number)
    ).all()
    user = _attributes(connection, models.TrialUserAttributeModel, study_row)
    system = _attributes(connection, models.TrialSystemAttributeModel, study_row)
    steps = _steps(connection, study_row)
    values = _values(connection, study_row)
    parameters = _parameters(connection, study_row)
    for trial_id, number, state, start, complete in found:
        drawn = parameters[trial_id]
        yield FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=values.get(trial_id),
            datetime_start=_local(start),
            datetime_complete=_local(complete),
            params={path: value for path, (value, _) in drawn.items()},
            distributions={path: distribution for path, (_, distribution) in drawn.items()},
            user_attrs=user[trial_id],
            system_attrs=system[trial_id],
            intermediate_values=steps[trial_id],
            trial_id=trial_id,
        )


def _of_study(model: Any, study_row: int, *columns: str) -> Select[Any]:  # noqa: ANN401
    """A query for a table of the study's trials, in the order in which rows were written."""
    table, trials = model.__table__, models.TrialModel.__table__
    (key,) = table.primary_key
    return (
        select(table.c.trial_id, *(table.c[column] for column in columns))
        .join(trials, trials.c.trial_id == table.c.trial_id)
        .where(trials.c.study_id == study_row)
        .order_by(key)
    )


def _attributes(
    connection: Connection,
    model: Any,  # noqa: ANN401
    study_row: int,
) -> defaultdict[int, dict[str, Any]]:
    rows = connection.execute(_of_study(model, study_row, "key", "value_json")).all()
    # Read as one text, names and repeated keys are one object each, and it takes a third as long.
    values = json.loads(f"[{','.join(text for _, _, text in rows)}]")
    found: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for (trial_id, key, _), value in zip(rows, values, strict=True):
        found[trial_id][sys.intern(key)] = value
    return found


def _steps(connection: Connection, study_row: int) -> defaultdict[int, dict[int, float]]:
    model = models.TrialIntermediateValueModel
    columns = ("step", "intermediate_value", "intermediate_value_type")
    found: defaultdict[int, dict[int, float]] = defaultdict(dict)
    query = _of_study(model, study_row, *columns)
    for trial_id, step, value, kind in connection.execute(query).all():
        found[trial_id][step] = model.stored_repr_to_intermediate_value(value, kind)
    return found


def _values(connection: Connection, study_row: int) -> dict[int, list[float]]:
    model = models.TrialValueModel
    found: defaultdict[int, dict[int, float]] = defaultdict(dict)
    query = _of_study(model, study_row, "objective", "value", "value_type")
    for trial_id, objective, value, kind in connection.execute(query).all():
        found[trial_id][objective] = model.stored_repr_to_value(value, kind)
    return {trial: [value for _, value in sorted(each.items())] for trial, each in found.items()}


def _parameters(
    connection: Connection, study_row: int
) -> defaultdict[int, dict[str, tuple[Any, BaseDistribution]]]:
    found: defaultdict[int, dict[str, tuple[Any, BaseDistribution]]] = defaultdict(dict)
    query = _of_study(
        models.TrialParamModel, study_row, "param_name", "param_value", "distribution_json"
    )
    for trial_id, name, value, text in connection.execute(query).all():
        distribution = _as_distribution(text)
        found[trial_id][sys.intern(name)] = (distribution.to_external_repr(value), distribution)
    return found


def _local(utc: datetime | None) -> datetime | None:
    """A time of Optuna's tables, naive in UTC, as its trials have it, naive and local."""
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
