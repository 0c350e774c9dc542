"""A sweep on recorded trials: study, sampler, pruner and driver are real, training is not.

Trials run at once in simulated time, an epoch as long as it took when it was recorded. What is
counted is epochs trained: a point that the sweep knows costs nothing, as in a sweep that trains.
"""

import heapq
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import crowned
from orchestrator.study.driver_storage import DriverStorage
from orchestrator.study.earlier_trials import earlier_trials, frozen_trials
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reuse import KnownResults, TakenOver
from orchestrator.study.samplers import build_sampler
from orchestrator.study.searcher import Searcher
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialRequest, TrialSummary
from orchestrator.sweep.budget import BudgetGate
from orchestrator.sweep.context import SafeSink
from orchestrator.sweep.driver import SweepDriver
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.trial_queue import TrialQueue
from orchestrator.sweep.trial_teller import TrialTeller
from orchestrator.tracking.missing_events import Told
from prvr_model.reporting import Decision
from tests.benchmarks.recorded_trials import METRIC, RecordedTrials, point_name

_AT_ONCE = 4
# When an epoch ends, a number that orders equal times, the trial and the epoch.
_Running: TypeAlias = list[tuple[float, int, TrialRequest, int]]
_FINGERPRINT = "recorded"


@dataclass(frozen=True)
class Replayed:
    """How a sweep on recorded trials went.

    Args:
        epochs: Epochs trained when another trial became the best complete one, ascending.
        points: Names of those trials' points.
        known: What the sweep knows at its end, by key.
        num_trials: Trials that it drew.
        num_taken: Those of them that trained no epoch, since their point was known.
    """

    epochs: list[int]
    points: list[str]
    known: "KnownPoints"
    num_trials: int
    num_taken: int

    def value_after(
        self, epochs: Iterable[int], values: Mapping[str, float]
    ) -> Float[np.ndarray, "budgets"]:
        """Value of the trial crowned after so many epochs; of a point taken blindly while none is.

        Args:
            epochs: Epochs trained.
            values: What a point is worth, by its name.
        """
        blind = float(np.mean([*values.values()]))
        places = np.searchsorted(self.epochs, list(epochs), side="right")
        return np.array([blind, *(values[point] for point in self.points)])[places]


class KnownPoints(KnownResults):
    """Results of ended trials by key, without files."""

    def __init__(self, trials: RecordedTrials) -> None:
        self._trials = trials
        self._ended: dict[str, TakenOver] = {}

    def own(self, request: TrialRequest, trial: TrialSummary) -> None:
        """No driver is ever killed here."""

    def take_over(self, request: TrialRequest) -> TakenOver | None:
        """Most epochs of the same key that a trial ran; None if there are none."""
        return self._ended.get(request.key)

    def completed(self, trial: TrialSummary) -> None:
        """Keep a complete trial's epochs."""
        self._keep(trial, is_whole=True)

    def pruned(self, trial: TrialSummary) -> None:
        """Keep a pruned trial's epochs."""
        self._keep(trial, is_whole=False)

    def _keep(self, trial: TrialSummary, *, is_whole: bool) -> None:
        seed = trial.seed
        assert seed is not None, "every trial trains with a seed"
        before = self._ended.get(trial.key)
        if before is None or len(before.reports) < trial.epochs:
            reports = self._trials.reports(trial.parameters, seed)[: trial.epochs]
            self._ended[trial.key] = TakenOver(f"replayed/{trial.number}", reports, is_whole)


class _Replay:
    """The executor: hands out what was recorded, until so many epochs are trained."""

    def __init__(self, trials: RecordedTrials, study: SweepStudy, budget_epochs: int) -> None:
        self._trials = trials
        self._study = study
        self._budget = budget_epochs
        self._trained: set[tuple[str, int]] = set()
        self._order = itertools.count()
        self._crowned: int | None = None
        self.epochs: list[int] = []
        self.points: list[str] = []

    def run(self, source: SweepDriver) -> None:
        """Run trials until the epochs are spent, or the sweep has no more."""
        running: _Running = []
        now = 0.0
        self._fill(source, running, now)
        while running and len(self._trained) < self._budget:
            now, _, request, epoch = heapq.heappop(running)
            self._trained.add((request.key, epoch))
            reports = self._trials.reports(request.parameters, request.settings.training.seed)
            decision = source.on_report(request.number, reports[epoch - 1])
            if decision is Decision.CONTINUE and epoch < len(reports):
                self._go_on(running, now, request, epoch + 1)
            else:
                source.on_end(request.number)
                self._note_best()
                self._fill(source, running, now)

    def _fill(self, source: SweepDriver, running: _Running, now: float) -> None:
        """Begin trials in free slots; trials whose points are known end on the way."""
        while len(running) < _AT_ONCE and (request := source.next_trial()) is not None:
            self._go_on(running, now, request, 1)
        self._note_best()

    def _go_on(self, running: _Running, now: float, request: TrialRequest, epoch: int) -> None:
        """Train an epoch; known ones of a pruned trial that goes on take no time."""
        is_known = (request.key, epoch) in self._trained
        end = now if is_known else now + self._trials.epoch_s(request.parameters)
        heapq.heappush(running, (end, next(self._order), request, epoch))

    def _note_best(self) -> None:
        best = crowned(self._study, 1)
        if best and best[0].number != self._crowned:
            self._crowned = best[0].number
            self.epochs.append(len(self._trained))
            self.points.append(point_name(best[0].parameters))


class _Unwritten(SweepStudy):
    """The study of a driver that writes nothing after its beginning: a replay ends in a second."""

    def _flush(self) -> None:
        storage = self._study._storage
        assert isinstance(storage, DriverStorage), "a driver's study"
        storage._unwritten.clear()


def replay(
    spec: SweepSpec,
    trials: RecordedTrials,
    home: Path,
    budget_epochs: int,
    *,
    known: KnownPoints | None = None,
    is_written: bool = False,
) -> Replayed:
    """Run a sweep on recorded trials.

    Args:
        spec: The sweep; its space must be that of the trials.
        trials: What its trials report.
        home: Where its study lies; its name must be new there.
        budget_epochs: Epochs that it trains.
        known: What a sweep before it knows; None: it begins without.
        is_written: Whether its trials stay in the home, for sweeps that `start.from` it.
    """
    earlier = earlier_trials(spec, _FINGERPRINT, home)
    kind = SweepStudy if is_written else _Unwritten
    study = kind.create(
        study_url(home),
        spec.name,
        spec.objective.direction,
        build_sampler(spec, frozen_trials(spec, earlier)),
        build_pruner(spec.early_stopping),
        {"spec_yaml": spec.dump_yaml(), "data_fingerprint": _FINGERPRINT} if is_written else {},
    )
    searcher = Searcher(study, spec, "/nowhere", _FINGERPRINT, "/nowhere")
    progress = SilentProgress()
    queue = TrialQueue(searcher, BudgetGate(spec, study, progress.warn), lambda: False)
    teller = TrialTeller(SafeSink(None, progress.warn), progress, {}, Told())
    known = known or KnownPoints(trials)
    executor = _Replay(trials, study, budget_epochs)
    executor.run(SweepDriver(METRIC, study, searcher, queue, teller, known))
    summaries = study.summaries()
    taken = sum(trial.is_taken for trial in summaries)
    return Replayed(executor.epochs, executor.points, known, len(summaries), taken)
