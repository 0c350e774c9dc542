"""The study of a driver: read from memory, written to its database in whole steps.

The driver alone writes its study, so what it has written is what there is. Optuna's own storage
asks the database for every unfinished trial at each look, which costs more with every trial at
once, and commits every value by itself.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Insert, Update, bindparam, insert, update

from orchestrator.study.loaded_study import LoadedStudy

_Write: TypeAlias = Callable[[Connection], None]

# Of parameters that name a row; those without it are its new values.
_NAMED = "named_"


class DriverStorage(LoadedStudy):
    """One study in memory, and what of it the database does not have yet.

    Args:
        backend: The database.
        name: Name of a study in it.

    Raises:
        KeyError: There is no such study.
    """

    def __init__(self, backend: RDBStorage, name: str) -> None:
        super().__init__(backend, name)
        self._unwritten: list[_Write] = []
        self._read()

    def flush(self) -> None:
        """Write everything since the last time in one transaction.

        Raises:
            StudyDatabaseError: It cannot be written; the next flush tries again.
        """
        if not self._unwritten:
            return
        with self._backend.engine.begin() as connection:
            for write in self._unwritten:
                write(connection)
        self._unwritten.clear()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        """Set an attribute of the study."""
        is_new = key not in self._studies[study_id].user_attrs
        text = json.dumps(value)
        super().set_study_user_attr(study_id, key, json.loads(text))
        columns = {"study_id": self._study_row, "key": key}
        self._put(models.StudyUserAttributeModel, columns, {"value_json": text}, is_new=is_new)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin a trial."""
        assert template_trial is None, "a driver begins trials without a template"
        trial_id = super().create_new_trial(study_id)
        made = self._get_trial(trial_id)

        def write(connection: Connection) -> None:
            values = {
                "number": made.number,
                "study_id": self._study_row,
                "state": TrialState.RUNNING,
                "datetime_start": _utc(made.datetime_start),
            }
            made_row = connection.execute(_insertion(models.TrialModel), values)
            assert made_row.inserted_primary_key is not None, "an inserted row has a key"
            self._rows[trial_id] = int(made_row.inserted_primary_key[0])

        self._unwritten.append(write)
        return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter of a trial."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        values = {
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }
        self._put_of_trial(
            models.TrialParamModel, trial_id, {"param_name": param_name}, values, is_new=True
        )

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        """Set an attribute of a trial."""
        is_new = key not in self._get_trial(trial_id).user_attrs
        text = json.dumps(value)
        super().set_trial_user_attr(trial_id, key, json.loads(text))
        model = models.TrialUserAttributeModel
        self._put_of_trial(model, trial_id, {"key": key}, {"value_json": text}, is_new=is_new)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        """Set what a sampler or pruner notes of a trial."""
        is_new = key not in self._get_trial(trial_id).system_attrs
        text = json.dumps(value)
        super().set_trial_system_attr(trial_id, key, json.loads(text))
        model = models.TrialSystemAttributeModel
        self._put_of_trial(model, trial_id, {"key": key}, {"value_json": text}, is_new=is_new)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set a trial's value after an epoch."""
        is_new = step not in self._get_trial(trial_id).intermediate_values
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        model = models.TrialIntermediateValueModel
        value, kind = model.intermediate_value_to_stored_repr(intermediate_value)
        values = {"intermediate_value": value, "intermediate_value_type": kind}
        self._put_of_trial(model, trial_id, {"step": step}, values, is_new=is_new)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End a trial."""
        had = self._get_trial(trial_id).values is not None
        changed = super().set_trial_state_values(trial_id, state, values)
        ended = _utc(self._get_trial(trial_id).datetime_complete)
        model = models.TrialValueModel
        end = {"state": state, "datetime_complete": ended}
        self._put_of_trial(models.TrialModel, trial_id, {}, end, is_new=False)
        for objective, value in enumerate(values or ()):
            stored, kind = model.value_to_stored_repr(value)
            columns = {"value": stored, "value_type": kind}
            self._put_of_trial(model, trial_id, {"objective": objective}, columns, is_new=not had)
        return changed

    def _put_of_trial(
        self,
        model: Any,  # noqa: ANN401
        trial_id: int,
        columns: dict[str, Any],
        values: dict[str, Any],
        *,
        is_new: bool,
    ) -> None:
        # The row of a trial that is not written yet is known when it is.
        self._put(
            model, lambda: {"trial_id": self._rows[trial_id], **columns}, values, is_new=is_new
        )

    def _put(
        self,
        model: Any,  # noqa: ANN401
        columns: dict[str, Any] | Callable[[], dict[str, Any]],
        values: dict[str, Any],
        *,
        is_new: bool,
    ) -> None:
        """Note a row to be written; `columns` name it, and it is changed unless it is new."""

        def write(connection: Connection) -> None:
            named = columns if isinstance(columns, dict) else columns()
            if is_new:
                connection.execute(_insertion(model), {**named, **values})
                return
            found = {f"{_NAMED}{column}": value for column, value in named.items()}
            statement = _change(model, tuple(named), tuple(values))
            connection.execute(statement, {**found, **values})

        self._unwritten.append(write)


# Statements are made once: to make one costs several times what SQLite takes for it.


@cache
def _insertion(model: Any) -> Insert:  # noqa: ANN401
    return insert(model.__table__)


@cache
def _change(model: Any, named: tuple[str, ...], values: tuple[str, ...]) -> Update:  # noqa: ANN401
    """Sets columns of the row that other columns name; their parameters begin with `_NAMED`."""
    table = model.__table__
    found = [table.c[column] == bindparam(f"{_NAMED}{column}") for column in named]
    return update(table).where(*found).values({column: bindparam(column) for column in values})


def _utc(local: datetime | None) -> datetime | None:
    """A naive local time as Optuna's tables hold it, naive in UTC."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)
