"""The truth about a sweep's trials: one Optuna study, written by the driver and read by others.

A trial's identity is its Optuna number. Its value is the best objective so far, which is also
what the pruner sees. An epoch and the decision about it are written in one commit (`epoch_log`)
before anything that follows from them: the driver after one that was killed in between repeats
the decision instead of deciding anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState as OptunaState

from orchestrator.base.addresses import sqlite_file
from orchestrator.base.errors import SweepExistsError
from orchestrator.study.driver_storage import DriverStorage
from orchestrator.study.epoch_log import EPOCHS_ATTRIBUTE, EpochLog, EpochRow
from orchestrator.study.reader import (
    CAUSE,
    CONTINUED,
    COSTS,
    MOVES,
    WORKERS,
    Direction,
    RecordedEpoch,
    StudyReader,
    listed_counts,
    quiet_optuna,
)
from orchestrator.study.storage import (
    REQUEST,
    drop_empty,
    load_study,
    mark_trials,
    reopen_trials,
    shown_url,
    study_url,
    writing_storage,
)
from orchestrator.study.trial import FailureCause, TrialState
from orchestrator.study.work_record import WORK, TrialStart
from prvr_model.reporting import Decision
from prvr_model.results_version import RESULTS_VERSION

__all__ = ["RecordedEpoch", "StudyReader", "SweepStudy", "shown_url", "study_url"]


# Characters kept of a traceback, its end; some databases limit an attribute to 64 kB.
_LONGEST_TEXT = 16_000


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
class Drawing:
    """What is drawn for a trial.

    Args:
        distributions: Optuna's form of the parameters, in the order in which they are drawn.
        is_active: Whether a parameter has a value, given those drawn before it.
    """

    distributions: Mapping[str, BaseDistribution]
    is_active: Callable[[str, Mapping[str, Any]], bool] = lambda path, drawn: True


@dataclass(frozen=True)
class TrialDescription:
    """What the study records of a trial before it runs.

    Args:
        parameters: Its point of the search space.
        key: Its content key; empty if its settings cannot be built.
        folder: Folder of its files; empty if it has none.
        seed: Seed of its training.
        variant: Row of an ablation that it runs.
        confirms: Trial that it runs again on another seed.
        taken_from: Trial (`SWEEP/NUMBER`) whose results it copies.
        taken_epochs: How many of that trial's epochs; None: all, that trial is complete.
        results_version: Version of the numbers (`prvr_model.results_version`) that it began with.
        costs: What it costs as far as its settings say.
        over_limit: Limits that this exceeds, in words; it is not trained.
    """

    parameters: Mapping[str, Any]
    key: str = ""
    folder: str = ""
    seed: int | None = None
    variant: str | None = None
    confirms: int | None = None
    taken_from: str | None = None
    taken_epochs: int | None = None
    results_version: int = RESULTS_VERSION
    costs: Mapping[str, float] = field(default_factory=dict)
    over_limit: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The value of the attribute `REQUEST`."""
        special = {
            "variant": self.variant,
            "confirms": self.confirms,
            "taken_from": self.taken_from,
            "taken_epochs": self.taken_epochs,
            "costs": dict(self.costs) or None,
            "over_limit": self.over_limit,
        }
        return {
            "parameters": dict(self.parameters),
            "key": self.key,
            "folder": self.folder,
            "seed": self.seed,
            "results_version": self.results_version,
            **{name: value for name, value in special.items() if value is not None},
        }


class SweepStudy(StudyReader):
    """A sweep's study as its driver writes it; no other process writes."""

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

        A study of this name without trials is left from a sweep that ended before its first trial;
        it is replaced.

        Raises:
            SweepExistsError: There is a study of this name; the message counts its trials.
        """
        quiet_optuna()
        storage = writing_storage(url)
        drop_empty(storage, name)
        try:
            optuna.create_study(storage=storage, study_name=name, direction=direction)
        except optuna.exceptions.DuplicatedStudyError as error:
            existing = StudyReader.open(url, name)
            counts = listed_counts(existing.counts())
            path = sqlite_file(url)
            home = path.parent if path else None
            raise SweepExistsError(name, f"{existing.url} ({counts})", home=home) from error
        made = cls._of_driver(storage, name, url, sampler, pruner)
        for key, value in attributes.items():
            made._study.set_user_attr(key, value)
        made._flush()
        return made

    @classmethod
    def reopen(cls, url: str, name: str, sampler: BaseSampler, pruner: BasePruner) -> Self:
        """Open a study to continue it.

        Raises:
            SweepNotFoundError: There is no study of this name.
        """
        quiet_optuna()
        storage = writing_storage(url)
        load_study(storage, url, name)
        return cls._of_driver(storage, name, url, sampler, pruner)

    @classmethod
    def _of_driver(
        cls,
        storage: optuna.storages.RDBStorage,
        name: str,
        url: str,
        sampler: BaseSampler,
        pruner: BasePruner,
    ) -> Self:
        kept = DriverStorage(storage, name)
        return cls(
            optuna.load_study(study_name=name, storage=kept, sampler=sampler, pruner=pruner), url
        )

    def _flush(self) -> None:
        storage = self._study._storage
        assert isinstance(storage, DriverStorage), "a driver's study"
        storage.flush()

    def set_attribute(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Store something about the sweep as a whole."""
        self._study.set_user_attr(key, value)
        self._flush()

    def unfinished(self) -> tuple[int, ...]:
        """Numbers of trials that were handed out and have no result."""
        return tuple(
            trial.number
            for trial in self._study.get_trials(deepcopy=False)
            if not trial.state.is_finished()
        )

    def extend(
        self, url: str, attributes: Mapping[str, Any], epochs_before: int, max_epochs: int
    ) -> tuple[int, ...]:
        """Change attributes of the sweep, and set complete trials that get more epochs to running.

        One transaction; open the study anew afterwards.

        Args:
            url: Storage of the study.
            attributes: Attributes of the sweep that change.
            epochs_before: Epochs of a trial so far; a trial that is complete after fewer was ended
                by its patience and stays complete.
            max_epochs: Epochs of a trial from now on.

        Returns:
            Numbers of the trials set to running.
        """
        longer = {
            trial.number: {CONTINUED: trial.epochs}
            for trial in self.summaries()
            if trial.state is TrialState.COMPLETE and epochs_before <= trial.epochs < max_epochs
        }
        reopen_trials(url, self.name, attributes, longer)
        return tuple(longer)

    def move_folders(self, url: str, folders: Mapping[int, str]) -> None:
        """Record where finished trials' folders are now, in one transaction."""
        known = {number: self._frozen(number).user_attrs[REQUEST] for number in folders}
        described = {n: {REQUEST: {**known[n], "folder": folder}} for n, folder in folders.items()}
        mark_trials(url, self.name, described)

    def ask(self, drawing: Drawing) -> AskedTrial:
        """Let the sampler draw a new trial."""
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return self._drawn(trial, drawing)

    def take_up(self, number: int, drawing: Drawing) -> AskedTrial:
        """Take up an unfinished trial; values that were not drawn yet are drawn now."""
        return self._drawn(self._trial(number), drawing)

    def describe(self, number: int, description: TrialDescription) -> None:
        """Record what a trial is, and what was drawn for it; without this it never was."""
        self._trial(number).set_user_attr(REQUEST, description.to_json())
        self._flush()

    def set_taken_from(self, number: int, origin: str | None, epochs: int | None = None) -> None:
        """Record whose results a described trial has, and how many epochs; None: it is trained."""
        trial = self._trial(number)
        described = dict(trial.user_attrs[REQUEST])
        for key, value in (("taken_from", origin), ("taken_epochs", epochs)):
            described.pop(key, None)
            described |= {} if value is None else {key: value}
        trial.set_user_attr(REQUEST, described)
        self._flush()

    def record_epoch(
        self, number: int, epoch: int, objective: float, timestamp_ms: int, *, is_judged: bool
    ) -> RecordedEpoch:
        """Record an epoch and the pruner's decision; a known epoch keeps its decision.

        Args:
            number: Number of a running trial.
            epoch: Epochs completed, from 1.
            objective: This epoch's value, finite.
            timestamp_ms: When the epoch ended.
            is_judged: Whether the pruner is asked. Not at the trial's last epoch: a trial that ran
                all its epochs is complete, however good it is.
        """
        trial = self._trial(number)
        attributes = self._frozen(number).user_attrs
        log = EpochLog.of(attributes)
        known = log.row(epoch)
        if known is None:
            best = self._best_row(log.rows)
            beats = self.is_better(objective, best.objective if best else None)
            value = objective if beats or best is None else best.objective
            # A trial that was complete stays complete; the pruner has judged it before.
            unasked = not is_judged or CONTINUED in attributes
            stop, notes = (False, {}) if unasked else self._ask_pruner(trial, epoch, value)
            decision = Decision.STOP if stop else Decision.CONTINUE
            known = EpochRow(epoch, objective, decision, timestamp_ms)
            log = EpochLog((*log.rows, known), {**log.notes, **notes})
            trial.set_user_attr(EPOCHS_ATTRIBUTE, log.to_json())
            self._follow_up(trial, epoch, value, notes)
            self._flush()
            return RecordedEpoch(decision, is_new=True)
        self._repeat(trial, log)
        self._flush()
        return RecordedEpoch(known.decision, is_new=False)

    def note_costs(self, number: int, costs: Mapping[str, float]) -> None:
        """Record what a trial cost so far; with the next write, so that none is made for it."""
        self._trial(number).set_user_attr(COSTS, dict(costs))

    def note_workers(self, number: int, workers: int) -> None:
        """Record how many workers trained an epoch, if the number changed."""
        known = self._frozen(number).user_attrs.get(WORKERS, [])
        if known[-1:] != [workers]:
            self._trial(number).set_user_attr(WORKERS, [*known, workers])
            self._flush()

    def note_start(self, number: int, start: TrialStart) -> None:
        """Record that a trial began in a slot; written with what is written next."""
        self._note_work(number, start.to_json)

    def note_loss(self, number: int, at_ms: int) -> None:
        """Record that a trial left its slot in an epoch; written with what is written next."""
        self._note_work(number, lambda epochs: [epochs, at_ms])

    def _note_work(self, number: int, entry: Callable[[int], list[Any]]) -> None:
        attributes = self._trial(number).user_attrs
        made = entry(len(EpochLog.of(attributes).rows))
        self._trial(number).set_user_attr(WORK, [*attributes.get(WORK, ()), made])

    def note_move(self, number: int) -> int:
        """Record an eviction of a trial; returns its number of evictions so far."""
        trial = self._trial(number)
        moves = int(trial.user_attrs.get(MOVES, 0)) + 1
        trial.set_user_attr(MOVES, moves)
        self._flush()
        return moves

    def tell_complete(self, number: int) -> None:
        """Record that a trial ran all its epochs or was ended by its patience."""
        best = self._best_row(self.rows(number))
        assert best is not None, "a trial without an epoch has failed"
        self._tell(number, OptunaState.COMPLETE, best.objective)

    def tell_pruned(self, number: int) -> None:
        """Record that the pruner ended a trial."""
        self._tell(number, OptunaState.PRUNED)

    def tell_failed(self, number: int, cause: FailureCause) -> None:
        """Record that a trial failed, with the cause."""
        stored = {key: value[-_LONGEST_TEXT:] for key, value in asdict(cause).items()}
        self._trial(number).set_user_attr(CAUSE, stored)
        self._tell(number, OptunaState.FAIL)

    def _tell(self, number: int, state: OptunaState, value: float | None = None) -> None:
        self._study.tell(number, value, state=state)
        self._flush()
        del self._trials[number]

    def _trial(self, number: int) -> optuna.Trial:
        if number not in self._trials:
            frozen = self._frozen(number)
            self._trials[number] = optuna.Trial(self._study, frozen._trial_id)
        return self._trials[number]

    def _drawn(self, trial: optuna.Trial, drawing: Drawing) -> AskedTrial:
        drawn: dict[str, Any] = {}
        for path, distribution in drawing.distributions.items():
            if drawing.is_active(path, drawn):
                drawn[path] = trial._suggest(path, distribution)
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
