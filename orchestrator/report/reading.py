"""Reads a sweep from its study and its trials' folders; an unreadable part is named, not fatal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from orchestrator.base.errors import OutcomesError
from orchestrator.spec.data import open_data
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.outcomes import VideosOfQueries, kept_outcome
from orchestrator.study.frozen_ranks import FrozenRanks, kept_frozen_ranks
from orchestrator.study.history import read_history
from orchestrator.study.outcomes import VALIDATION, epoch_outcomes, validation_videos
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState, TrialSummary
from prvr_model.errors import PrvrError
from prvr_model.reporting import EpochReport
from prvr_model.retrieval.query_slices import QuerySlice, query_slices

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

# Seconds of an epoch, its evaluation included.
_EPOCH_SECONDS = "time/epoch_s"


@dataclass(frozen=True)
class Run:
    """A trial with what its folder holds.

    Args:
        trial: What the study knows about it.
        epochs: Metrics of its epochs; empty if the folder cannot be read.
        parameters: Number of the model's parameters; None if not known.
    """

    trial: TrialSummary
    epochs: tuple[EpochReport, ...] = ()
    parameters: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it ran to its end."""
        return self.trial.state is TrialState.COMPLETE

    def at_best(self, metric: str) -> float | None:
        """A metric at the trial's best epoch; None if it is not known."""
        best = (epoch for epoch in self.epochs if epoch.epoch == self.trial.best_epoch)
        return next((epoch.metrics.get(metric) for epoch in best), None)

    @property
    def seconds(self) -> float | None:
        """Seconds of training and evaluation; None if not known, or if all results were copied."""
        if not self.epochs or self.trial.is_taken:
            return None
        trained = self.epochs[self.trial.taken_epochs or 0 :]
        return sum(epoch.metrics.get(_EPOCH_SECONDS, 0.0) for epoch in trained)


@dataclass
class SweepData:
    """Everything that a report is made from.

    Args:
        spec: The sweep.
        study: Its study.
        attributes: What the study keeps about the sweep as a whole.
        runs: Its trials by number.
        videos: The video of each validation query; None if the data cannot be opened or changed.
        problems: What could not be read, a sentence each.
        home: Its home, absolute; None: the default.
        frozen: Ranks by the frozen features of its data; None if the home has none.
        slices: Parts of the validation queries; empty like `videos`.
        store: Its data; None like `videos`.
    """

    spec: SweepSpec
    study: StudyReader
    attributes: Mapping[str, Any]
    runs: tuple[Run, ...]
    videos: VideosOfQueries | None
    problems: list[str] = field(default_factory=list)
    home: Path | None = None
    frozen: FrozenRanks | None = None
    slices: tuple[QuerySlice, ...] = ()
    store: "FeatureStore | None" = None

    def complete(self) -> list[Run]:
        """Runs that ran to their end."""
        return [run for run in self.runs if run.is_complete]


def read_sweep(home: Path, sweep: str) -> SweepData:
    """Read a sweep, also while it runs.

    Raises:
        SweepNotFoundError: There is no such sweep.
        SpecError: Another version wrote its spec, which this one cannot read.
    """
    study = StudyReader.open(study_url(home), sweep)
    attributes = study.attributes
    spec = read_spec(attributes["spec_yaml"], source=f"sweep {sweep}")
    problems: list[str] = []
    runs = tuple(_run(study, trial, problems) for trial in study.summaries())
    store = _store(spec, home, attributes, problems)
    return SweepData(
        spec,
        study,
        attributes,
        runs,
        validation_videos(store) if store else None,
        problems,
        home.resolve(),
        _frozen(spec, home, attributes, problems),
        _slices(store) if store else (),
        store,
    )


def _frozen(
    spec: SweepSpec, home: Path, attributes: Mapping[str, Any], problems: list[str]
) -> FrozenRanks | None:
    try:
        return kept_frozen_ranks(spec, attributes.get("data_fingerprint", ""), home)
    except OutcomesError as error:
        problems.append(str(error))
        return None


def _run(study: StudyReader, trial: TrialSummary, problems: list[str]) -> Run:
    if not trial.epochs or not trial.folder:
        return Run(trial)
    history = read_history(study, trial)
    if history.problem is not None:
        if trial.state is not TrialState.RUNNING:
            problems.append(f"trial {trial.number}: its metrics cannot be read: {history.problem}")
        return Run(trial)
    return Run(trial, history.rows, history.parameters)


def _store(
    spec: SweepSpec, home: Path, attributes: Mapping[str, Any], problems: list[str]
) -> "FeatureStore | None":
    """The sweep's data; None if it cannot be opened or changed."""
    wanted = attributes.get("data_fingerprint", "")
    try:
        store = open_data(spec.data, home, lambda _: None, wanted, generates=False)
        if store.manifest.fingerprint != wanted:
            problems.append(f"{store.path} is no longer the sweep's data: no intervals over videos")
            return None
        store.split(VALIDATION)
        return store
    except PrvrError as error:
        problems.append(f"no intervals over videos, the data cannot be opened: {error}")
        return None


def _slices(store: "FeatureStore") -> tuple[QuerySlice, ...]:
    return query_slices(store.split(VALIDATION), store.manifest.seconds_per_row)


def outcomes_of_epochs(
    data: SweepData, runs: Sequence[Run]
) -> Float[np.ndarray, "candidates videos"]:
    """Sum of the objective's outcomes over each video, for every epoch of some runs.

    Returns:
        A row for each epoch; epochs whose ranks are missing are left out.
    """
    assert data.videos is not None, "without videos nothing can be summed over them"
    outcome = kept_outcome(data.spec.objective.metric)
    assert outcome is not None, "of a branch nothing is compared"
    of_epochs = (
        epoch_outcomes(run.trial, epoch.epoch, outcome) for run in runs for epoch in run.epochs
    )
    outcomes = [
        found for found in of_epochs if found is not None and len(found) == data.videos.num_queries
    ]
    return data.videos.totals(np.array(outcomes).reshape(-1, data.videos.num_queries))
