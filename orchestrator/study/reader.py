"""Reads a sweep's study without writing to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from orchestrator.base.addresses import sqlite_file
from orchestrator.base.errors import StudyDatabaseError, SweepNotFoundError, lost_log
from orchestrator.base.sqlite_files import lacks_log
from orchestrator.study.epoch_log import EpochLog, EpochRow
from orchestrator.study.goals import Goals
from orchestrator.study.joint_record import joint_record
from orchestrator.study.loaded_study import without_collection
from orchestrator.study.storage import (
    REQUEST,
    load_study,
    reading_storage,
    shown_url,
    study_url,
)
from orchestrator.study.trial import FailureCause, TrialState, TrialSummary
from orchestrator.study.work_record import WorkRecord
from prvr_model.reporting import Decision

Direction: TypeAlias = Literal["maximize", "minimize"]

NUM_TRIALS = "num_trials"
"""Attribute of a sweep: trials that it is to have, without rounds that are planned later."""
OVER_BUDGET = "over_budget"
"""Attribute of a sweep: why its budget allows no further trial; absent or None if it does."""
JUDGED_SEEDS = "judged_seeds"
"""Attribute of an ablation: seeds per row before each extension that added seeds."""
TEST_SCORES = "test_scores"
"""Attribute of a sweep: the scores of its selected trials on test, see `test_scores`."""
CAUSE = "cause"
"""Attribute of a failed trial: the error."""
MOVES = "moves"
"""Attribute of a trial: how often it was evicted and continued."""
WORKERS = "workers"
"""Attribute of a trial: how many workers trained its epochs; one number for each change."""
CONTINUED = "continued_from_epochs"
"""Attribute of a trial that an extension gave more epochs: after how many it was complete."""
COSTS = "costs"
"""Attribute of a trial: what it cost so far, as far as objectives and limits need it."""
# Trials name their version of the numbers since there is a second one.
_UNNAMED_VERSION = 1
_MOST_HOMES = 5
_STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.WAITING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}


@dataclass(frozen=True)
class RecordedEpoch:
    """Answer to a reported epoch; `is_new` is False where the study knew it already."""

    decision: Decision
    is_new: bool


class StudyReader:
    """Reads a sweep's trials from its study; changes nothing."""

    def __init__(self, study: optuna.Study, url: str) -> None:
        self._study = study
        self._known: dict[int, tuple[FrozenTrial, TrialSummary]] = {}
        self._work: dict[int, tuple[FrozenTrial, WorkRecord]] = {}
        self._file = sqlite_file(url)
        self.url = shown_url(url)
        self.name = study.study_name

    @classmethod
    def open(cls, url: str, name: str) -> Self:
        """Open a study for reading only, also while a sweep writes it.

        Raises:
            SweepNotFoundError: There is no study of this name, or no storage.
            StudyDatabaseError: The database cannot be read, or is a copy without its log.
        """
        quiet_optuna()
        path = sqlite_file(url)
        if path is not None and not path.exists():
            raise SweepNotFoundError(name, shown_url(url), [], _homes_near(path.parent))
        loaded = load_study(reading_storage(url), url, name)
        study = cls(optuna.load_study(study_name=name, storage=loaded), url)
        if path is not None and lacks_log(path) and study.num_asked() <= _last_trial(path, name):
            raise StudyDatabaseError(str(path), lost_log(name))
        return study

    @property
    def attributes(self) -> dict[str, Any]:
        """What was stored about the sweep as a whole, e.g. `spec_yaml` and `started_ms`."""
        return dict(self._study.user_attrs)

    @cached_property
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
        with without_collection():
            return tuple(self._summary(trial) for trial in self._study.get_trials(deepcopy=False))

    def rows(self, number: int) -> tuple[EpochRow, ...]:
        """Epochs of a trial as recorded."""
        return EpochLog.of(self._frozen(number).user_attrs).rows

    def work_records(self) -> tuple[WorkRecord, ...]:
        """When and where every trial ran, by number."""
        for trial in self._study.get_trials(deepcopy=False):
            known = self._work.get(trial.number)
            if known is None or known[0] is not trial:
                self._work[trial.number] = (trial, WorkRecord.of(trial.user_attrs))
        return tuple(self._work[number][1] for number in range(len(self._work)))

    def summary(self, number: int) -> TrialSummary:
        """One trial."""
        return self._summary(self._frozen(number))

    def counts(self) -> dict[TrialState, int]:
        """Number of trials in each state; 0 for a state without trials."""
        counts = dict.fromkeys(TrialState, 0)
        for trial in self._study.get_trials(deepcopy=False):
            counts[_STATES[trial.state]] += 1
        return counts

    def num_asked(self) -> int:
        """Number of trials that were drawn, in any state."""
        return len(self._study.get_trials(deepcopy=False))

    @property
    def goals(self) -> Goals:
        """Several objectives and limits, if the sweep has them."""
        return Goals.of(self._study.user_attrs)

    def front(self) -> tuple[TrialSummary, ...]:
        """The Pareto front of several objectives, by the first one; empty for a single one."""
        return self.goals.front(self._by_value())

    def best(self, count: int = 1) -> tuple[TrialSummary, ...]:
        """The best complete trials, best first; of equal trials the earlier first.

        With several objectives or limits: as `Goals.ranked` orders them.
        """
        ranked = self._by_value()
        return (self.goals.ranked(ranked) if self.goals else ranked)[:count]

    def _by_value(self) -> tuple[TrialSummary, ...]:
        sign = -1 if self.direction == "maximize" else 1
        complete = [trial for trial in self.summaries() if trial.state is TrialState.COMPLETE]
        ranked = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
        return tuple(ranked)

    def _frozen(self, number: int) -> FrozenTrial:
        # By itself: with all others it would cost more with every trial of the sweep.
        storage, study = self._study._storage, self._study._study_id
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study, number))

    def _summary(self, frozen: FrozenTrial) -> TrialSummary:
        """A trial's summary; a trial that changes is another object in the study's memory."""
        known = self._known.get(frozen.number)
        if known is None or known[0] is not frozen:
            known = self._known[frozen.number] = (frozen, self._made_summary(frozen))
        return known[1]

    def _made_summary(self, frozen: FrozenTrial) -> TrialSummary:
        request = frozen.user_attrs.get(REQUEST, {})
        best = self._best_row(EpochLog.of(frozen.user_attrs).rows)
        cause = frozen.user_attrs.get(CAUSE)
        return TrialSummary(
            number=frozen.number,
            state=_STATES[frozen.state],
            parameters=dict(request.get("parameters", frozen.params)),
            value=best.objective if best else None,
            best_epoch=best.epoch if best else None,
            epochs=frozen.last_step or 0,
            key=request.get("key", ""),
            folder=self._folder(frozen.number, request.get("folder", "")),
            cause=FailureCause(**cause) if cause else None,
            seed=request.get("seed"),
            started_ms=_milliseconds(frozen.datetime_start),
            ended_ms=_milliseconds(frozen.datetime_complete),
            continued_from_epochs=frozen.user_attrs.get(CONTINUED),
            variant=request.get("variant"),
            confirms=request.get("confirms"),
            taken_from=request.get("taken_from"),
            taken_epochs=request.get("taken_epochs"),
            workers=tuple(frozen.user_attrs.get(WORKERS, ())),
            moves=frozen.user_attrs.get(MOVES, 0),
            results_version=request.get("results_version", _UNNAMED_VERSION),
            costs=costs_of(frozen),
            over_limit=request.get("over_limit"),
        )

    def recorded_folders(self) -> tuple[str, ...]:
        """Recorded folder of every trial, by number; empty text where none was recorded."""
        trials = self._study.get_trials(deepcopy=False)
        return tuple(trial.user_attrs.get(REQUEST, {}).get("folder", "") for trial in trials)

    def _folder(self, number: int, recorded: str) -> str:
        """Folder of a trial; the path of one below the home follows a home that was moved."""
        if not recorded or not self._is_below_home or self._file is None:
            return recorded
        return f"{self._file.parent}/{self.name}/trials/{number:05d}"

    @cached_property
    def _is_below_home(self) -> bool:
        places = self._study.user_attrs.get("places", {})
        return "storage" in places and places["storage"] is None

    def _best_row(self, rows: tuple[EpochRow, ...]) -> EpochRow | None:
        best: EpochRow | None = None
        for row in rows:
            if self.is_better(row.objective, best.objective if best else None):
                best = row
        return best


def costs_of(trial: FrozenTrial) -> dict[str, float]:
    """What a trial cost, as far as objectives and limits need it; what was measured counts."""
    return {**trial.user_attrs.get(REQUEST, {}).get("costs", {}), **trial.user_attrs.get(COSTS, {})}


def is_over_limit(trial: FrozenTrial) -> bool:
    """Whether a trial was not trained, since it exceeds a limit."""
    return "over_limit" in trial.user_attrs.get(REQUEST, {})


def begun_study(home: Path, name: str) -> StudyReader | None:
    """The study of a sweep; None if the home has none, or none of its trials has begun."""
    try:
        study = StudyReader.open(study_url(home), name)
    except SweepNotFoundError:
        return None
    return study if study.num_asked() else None


def begun_parts(home: Path, sweep: str) -> tuple[str, ...]:
    """Parts of a sweep over several data sets that have trials; of any other the sweep itself.

    Raises:
        SweepNotFoundError: No part has begun.
    """
    record = joint_record(home, sweep)
    if record is None:
        return (sweep,)
    names = tuple(record.parts.values())
    begun = tuple(name for name in names if begun_study(home, name) is not None)
    if not begun:
        raise SweepNotFoundError(sweep, str(home), [], "none of its data sets has begun")
    return begun


def _last_trial(path: Path, name: str) -> int:
    """Number of the last trial that has a folder beside the study; -1: none has."""
    trials = path.parent / name / "trials"
    numbers = [int(folder.name) for folder in trials.glob("*") if folder.name.isdigit()]
    return max(numbers, default=-1)


def _homes_near(home: Path) -> str:
    """What is said of a folder that is no home: which ones are in it or beside it."""
    found = {path.parent for around in (home, home.parent) for path in around.glob("*/study.db")}
    listed = ", ".join(map(str, sorted(found)[:_MOST_HOMES]))
    near = f"; homes near it: {listed}" if found else ""
    return f"{home} is no home of sweeps, name one with --home{near}"


def _milliseconds(when: datetime | None) -> int | None:
    return None if when is None else round(when.timestamp() * 1000)


def listed_counts(counts: Mapping[TrialState, int]) -> str:
    """How many trials are in each state, in words."""
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return listed or "no trials"


def quiet_optuna() -> None:
    """Keep Optuna's own messages off stderr."""
    # Optuna logs each study and trial to stderr; our progress and status show them instead. It
    # warns where a Gaussian process falls back to its usual kernel, about which nobody can do much.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
