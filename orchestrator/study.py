"""The truth about a sweep's trials: one Optuna study, written by the driver and read by others.

A trial's identity is its Optuna number. Its value is the best objective so far, which is also
what the pruner sees. What happened at an epoch is written in one commit (`epoch_log`) before
anything that follows from it, so that a driver killed in between repeats it instead of deciding
anew.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import quote

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy import event
from sqlalchemy.engine import make_url

from orchestrator.epoch_log import EPOCHS, EpochLog, EpochRow
from orchestrator.errors import SweepExistsError, SweepNotFoundError
from orchestrator.trial import FailureCause, TrialState, TrialSummary
from prvr_model.reporting import Decision

Direction: TypeAlias = Literal["maximize", "minimize"]

# A reader holds SQLite for milliseconds; a copy or a backup of the file may hold it for longer.
_SQLITE_BUSY_S = 60
# Frames of a traceback beyond this say nothing more; some databases keep 64 kB of an attribute.
_LONGEST_TEXT = 16_000

_STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.WAITING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}


def study_url(home: Path) -> str:
    """Storage of the studies of a home folder, by absolute path."""
    return f"sqlite:///{home.resolve()}/study.db"


def shown_url(url: str) -> str:
    """A storage URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


@dataclass(frozen=True)
class AskedTrial:
    """A trial as the sampler drew it.

    Args:
        number: Optuna number.
        drawn: Values by dotted path, as the sampler gave them.
    """

    number: int
    drawn: dict[str, Any]


@dataclass(frozen=True)
class RecordedEpoch:
    """Answer to a reported epoch; `is_new` is False where the study knew it already."""

    decision: Decision
    is_new: bool


class StudyReader:
    """A sweep's trials as the study has them; asking it changes nothing."""

    def __init__(self, study: optuna.Study, url: str) -> None:
        self._study = study
        self.url = shown_url(url)
        self.name = study.study_name

    @classmethod
    def open(cls, url: str, name: str) -> Self:
        """Open a study for reading only, also while a sweep writes it.

        Raises:
            SweepNotFoundError: There is no study of this name, or no storage.
        """
        _quiet()
        path = _sqlite_path(url)
        if path is not None and not path.exists():
            raise SweepNotFoundError(name, shown_url(url), [])
        return cls(_load(_reading_storage(url), url, name), url)

    @property
    def attributes(self) -> dict[str, Any]:
        """What was stored about the sweep as a whole, e.g. `spec_yaml` and `started_ms`."""
        return dict(self._study.user_attrs)

    @property
    def direction(self) -> Direction:
        """Whether larger or smaller values are better."""
        return "maximize" if self._study.direction.name == "MAXIMIZE" else "minimize"

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether a value beats another; every value beats None."""
        if than is None:
            return True
        return value > than if self.direction == "maximize" else value < than

    def summaries(self) -> tuple[TrialSummary, ...]:
        """All trials by number."""
        return tuple(self._summary(one) for one in self._study.get_trials(deepcopy=False))

    def rows(self, number: int) -> tuple[EpochRow, ...]:
        """Epochs of a trial as recorded."""
        return EpochLog.of(self._frozen(number).user_attrs).rows

    def summary(self, number: int) -> TrialSummary:
        """One trial."""
        return self._summary(self._frozen(number))

    def counts(self) -> dict[TrialState, int]:
        """Number of trials in each state; states without trials are there with 0."""
        counts = dict.fromkeys(TrialState, 0)
        for one in self._study.get_trials(deepcopy=False):
            counts[_STATES[one.state]] += 1
        return counts

    def best(self, count: int = 1) -> tuple[TrialSummary, ...]:
        """The best complete trials, best first; the earlier of two equal ones first."""
        sign = -1 if self.direction == "maximize" else 1
        complete = [one for one in self.summaries() if one.state is TrialState.COMPLETE]
        ranked = sorted(complete, key=lambda one: (sign * (one.value or 0.0), one.number))
        return tuple(ranked[:count])

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _summary(self, frozen: FrozenTrial) -> TrialSummary:
        request = frozen.user_attrs.get("request", {})
        best = self._best_row(EpochLog.of(frozen.user_attrs).rows)
        cause = frozen.user_attrs.get("cause")
        return TrialSummary(
            number=frozen.number,
            state=_STATES[frozen.state],
            parameters=dict(request.get("parameters", frozen.params)),
            value=best.objective if best else None,
            best_epoch=best.epoch if best else None,
            epochs=frozen.last_step or 0,
            key=request.get("key", ""),
            folder=request.get("folder", ""),
            cause=FailureCause(**cause) if cause else None,
        )

    def _best_row(self, rows: tuple[EpochRow, ...]) -> EpochRow | None:
        best: EpochRow | None = None
        for row in rows:
            if self.is_better(row.objective, best.objective if best else None):
                best = row
        return best


class SweepStudy(StudyReader):
    """A sweep's study as its driver writes it; nobody else writes."""

    def __init__(self, study: optuna.Study, url: str) -> None:
        super().__init__(study, url)
        self._trials: dict[int, optuna.Trial] = {}

    @classmethod
    def create(
        cls,
        url: str,
        name: str,
        direction: Direction,
        sampler: BaseSampler,
        pruner: BasePruner,
        attributes: Mapping[str, Any],
    ) -> Self:
        """Start a study; `attributes` are stored with it, values as JSON takes them.

        A study of this name without a trial is what an end before the first one left: it is
        replaced.

        Raises:
            SweepExistsError: There is a study of this name; the message says what is in it.
        """
        _quiet()
        storage = _writing_storage(url)
        _drop_empty(storage, name)
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction=direction,
                sampler=sampler,
                pruner=pruner,
            )
        except optuna.exceptions.DuplicatedStudyError as error:
            there = cls(_load(storage, url, name), url)
            raise SweepExistsError(name, f"{there.url} ({_listed(there.counts())})") from error
        for key, value in attributes.items():
            study.set_user_attr(key, value)
        return cls(study, url)

    @classmethod
    def reopen(cls, url: str, name: str, sampler: BaseSampler, pruner: BasePruner) -> Self:
        """Open a study to go on with it.

        Raises:
            SweepNotFoundError: There is no study of this name.
        """
        _quiet()
        study = _load(_writing_storage(url), url, name)
        study.sampler, study.pruner = sampler, pruner
        return cls(study, url)

    def set_attribute(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Store something about the sweep as a whole."""
        self._study.set_user_attr(key, value)

    def unfinished(self) -> tuple[int, ...]:
        """Numbers of trials that were handed out and have no result."""
        return tuple(
            one.number
            for one in self._study.get_trials(deepcopy=False)
            if not one.state.is_finished()
        )

    def num_asked(self) -> int:
        """Number of trials that were drawn, whatever became of them."""
        return len(self._study.get_trials(deepcopy=False))

    def ask(self, distributions: Mapping[str, BaseDistribution]) -> AskedTrial:
        """Let the sampler draw a new trial."""
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return self._drawn(trial, distributions)

    def take_up(self, number: int, distributions: Mapping[str, BaseDistribution]) -> AskedTrial:
        """An unfinished trial once more; values that were not drawn yet are drawn now."""
        return self._drawn(self._trial(number), distributions)

    def describe(
        self,
        number: int,
        parameters: Mapping[str, Any],
        key: str = "",
        folder: str = "",
        seed: int | None = None,
    ) -> None:
        """Store what a trial is; in one commit, since each costs as much as an epoch's row."""
        described = {"parameters": dict(parameters), "key": key, "folder": folder, "seed": seed}
        self._trial(number).set_user_attr("request", described)

    def record_epoch(
        self, number: int, epoch: int, objective: float, timestamp_ms: int, *, is_last: bool
    ) -> RecordedEpoch:
        """Record an epoch and the pruner's decision; a known epoch keeps its decision.

        Args:
            number: Number of a running trial.
            epoch: Epochs completed, from 1.
            objective: This epoch's value, finite.
            timestamp_ms: When the epoch ended.
            is_last: Whether the trial ends after this epoch anyhow: the pruner is not asked, since
                a trial that ran all its epochs is complete, however good it is.
        """
        trial = self._trial(number)
        log = EpochLog.of(trial.user_attrs)
        known = log.row(epoch)
        if known is None:
            best = self._best_row(log.rows)
            beats = self.is_better(objective, best.objective if best else None)
            value = objective if beats or best is None else best.objective
            stop, notes = (False, {}) if is_last else self._ask_pruner(trial, epoch, value)
            decision = Decision.STOP if stop else Decision.CONTINUE
            known = EpochRow(epoch, objective, decision, timestamp_ms)
            log = EpochLog((*log.rows, known), {**log.notes, **notes})
            trial.set_user_attr(EPOCHS, log.to_json())
            self._follow_up(trial, epoch, value, notes)
            return RecordedEpoch(decision, is_new=True)
        self._repeat(trial, log)
        return RecordedEpoch(known.decision, is_new=False)

    def tell_complete(self, number: int) -> None:
        """A trial ran its epochs or ended by its own patience."""
        best = self._best_row(EpochLog.of(self._trial(number).user_attrs).rows)
        assert best is not None, "a trial without an epoch has failed"
        self._tell(number, OptunaState.COMPLETE, best.objective)

    def tell_pruned(self, number: int) -> None:
        """A trial was ended by the pruner."""
        self._tell(number, OptunaState.PRUNED)

    def tell_failed(self, number: int, cause: FailureCause) -> None:
        """A trial has failed; the cause is kept with it."""
        stored = {key: value[-_LONGEST_TEXT:] for key, value in asdict(cause).items()}
        self._trial(number).set_user_attr("cause", stored)
        self._tell(number, OptunaState.FAIL)

    def _tell(self, number: int, state: OptunaState, value: float | None = None) -> None:
        self._study.tell(number, value, state=state)
        del self._trials[number]

    def _trial(self, number: int) -> optuna.Trial:
        if number not in self._trials:
            frozen = self._frozen(number)
            self._trials[number] = optuna.Trial(self._study, frozen._trial_id)
        return self._trials[number]

    def _drawn(
        self, trial: optuna.Trial, distributions: Mapping[str, BaseDistribution]
    ) -> AskedTrial:
        drawn = {path: trial._suggest(path, one) for path, one in distributions.items()}
        return AskedTrial(trial.number, drawn)

    def _ask_pruner(
        self, trial: optuna.Trial, epoch: int, value: float
    ) -> tuple[bool, dict[str, Any]]:
        """Decision, and what the pruner wanted to note on the trial (the rungs it reached).

        Optuna's pruners write their notes before they answer. A driver killed in between would
        ask again and get another answer, since the rung counts as passed; hence the notes are
        caught here and written after the decision.
        """
        storage = self._study._storage
        frozen = storage.get_trial(trial._trial_id)
        frozen.intermediate_values = {**frozen.intermediate_values, epoch: value}
        notes: dict[str, Any] = {}

        def catch(trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401
            notes[key] = value

        storage.set_trial_system_attr = catch  # type: ignore[method-assign]
        try:
            return self._study.pruner.prune(self._study, frozen), notes
        finally:
            del storage.set_trial_system_attr

    def _follow_up(
        self, trial: optuna.Trial, epoch: int, value: float, notes: Mapping[str, Any]
    ) -> None:
        for key, note in notes.items():
            self._study._storage.set_trial_system_attr(trial._trial_id, key, note)
        trial.report(value, epoch)

    def _repeat(self, trial: optuna.Trial, log: EpochLog) -> None:
        """Write what a killed driver may have left out after the epoch's commit."""
        frozen = self._study._storage.get_trial(trial._trial_id)
        for k, row in enumerate(log.rows):
            best = self._best_row(log.rows[: k + 1])
            if row.epoch not in frozen.intermediate_values and best is not None:
                self._follow_up(trial, row.epoch, best.objective, log.notes)


def _sqlite_path(url: str) -> Path | None:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database)


def _reading_storage(url: str) -> optuna.storages.RDBStorage:
    path = _sqlite_path(url)
    if path is None:
        return optuna.storages.RDBStorage(url)
    return optuna.storages.RDBStorage(
        f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true",
        engine_kwargs={"connect_args": {"timeout": _SQLITE_BUSY_S}},
        skip_table_creation=True,
    )


def _writing_storage(url: str) -> optuna.storages.RDBStorage:
    path = _sqlite_path(url)
    if path is None:
        return optuna.storages.RDBStorage(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_SQLITE_BUSY_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    storage = optuna.storages.RDBStorage(
        url, engine_kwargs={"connect_args": {"timeout": _SQLITE_BUSY_S}}
    )
    event.listen(storage.engine, "connect", _relax)
    storage.engine.dispose()
    return storage


def _relax(connection: sqlite3.Connection, record: object) -> None:
    """Leave it to the system when a commit reaches the disk: a write-ahead log keeps the order.

    A killed process loses nothing. A power cut loses the last moments, as if it had come earlier:
    trials report again from their checkpoints, and draws repeat. It saves 20 flushes a trial.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def _load(storage: optuna.storages.RDBStorage, url: str, name: str) -> optuna.Study:
    names: list[str] = []
    with suppress(KeyError):
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage)
    raise SweepNotFoundError(name, shown_url(url), names)


def _drop_empty(storage: optuna.storages.RDBStorage, name: str) -> None:
    if name in optuna.get_all_study_names(storage):
        there = optuna.load_study(study_name=name, storage=storage)
        if not there.get_trials(deepcopy=False):
            optuna.delete_study(study_name=name, storage=storage)


def _listed(counts: Mapping[TrialState, int]) -> str:
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return listed or "no trials"


def _quiet() -> None:
    # Optuna tells each study and trial at INFO on stderr; progress and status tell them here.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
