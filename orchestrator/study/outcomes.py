"""Reads the ranks of queries from trials' folders, as runs for the statistics."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load

from orchestrator.base.errors import OutcomesError
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.crossed import Interval, one_model_mean
from orchestrator.statistics.outcomes import (
    KeptOutcome,
    VariantRuns,
    VideosOfQueries,
    kept_outcome,
    variant_runs,
)
from orchestrator.statistics.table import LEVEL
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary
from prvr_model.files.folder import Folder, StorageError
from prvr_model.reporting import RANKS

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

VALIDATION = "val"
_UNREADABLE = (OSError, StorageError, SafetensorError, KeyError, ValueError)


def validation_videos(store: "FeatureStore") -> VideosOfQueries:
    """The video of each validation query."""
    return VideosOfQueries(np.asarray(store.split(VALIDATION).caption_video))


def ranks_of(trial: TrialSummary) -> Int[np.ndarray, "queries"]:
    """Rank of each validation query's best correct video at the trial's best epoch.

    Raises:
        OutcomesError: The folder has no such file, or it cannot be read.
    """
    ranks: Int[np.ndarray, queries] = kept_of(trial)[RANKS]
    return ranks


def kept_of(trial: TrialSummary) -> Mapping[str, np.ndarray]:
    """What is kept of each validation query at the trial's best epoch, by name.

    Raises:
        OutcomesError: The folder has no such file, or it cannot be read.
    """
    try:
        return _read_kept(trial.folder, trial.best_epoch or 0)
    except _UNREADABLE as error:
        raise OutcomesError(
            f"trial {trial.number}: the ranks of its best epoch cannot be read, without which it "
            f"cannot be compared: {error}"
        ) from error


def outcomes_of(trial: TrialSummary, outcome: KeptOutcome) -> Float[np.ndarray, "queries"]:
    """Outcome of each validation query at the trial's best epoch.

    Raises:
        OutcomesError: It was not kept, or it cannot be read.
    """
    found = outcome.of(kept_of(trial))
    if found is None:
        raise OutcomesError(
            f"trial {trial.number}: its ranks were kept without {outcome.name}, so it cannot be "
            "compared by that"
        )
    return found


def mean_interval(
    kept: Mapping[str, np.ndarray], metric: str, videos: VideosOfQueries
) -> Interval | None:
    """Interval of a metric for this model on new videos.

    Args:
        kept: What is kept of each query of the split.
        metric: The metric, e.g. `test/SumR`.
        videos: The video of each query.

    Returns:
        None for a metric of which nothing is kept, and for a single video.
    """
    outcome = kept_outcome(metric)
    outcomes = outcome.of(kept) if outcome else None
    if outcomes is None:
        return None
    return one_model_mean(outcomes, videos).interval_of_videos(LEVEL)


def epoch_ranks(trial: TrialSummary, epoch: int) -> Int[np.ndarray, "queries"] | None:
    """Ranks at an epoch of a trial; None where they cannot be read."""
    try:
        return _read_kept(trial.folder, epoch)[RANKS]
    except _UNREADABLE:
        return None


def epoch_outcomes(
    trial: TrialSummary, epoch: int, outcome: KeptOutcome
) -> Float[np.ndarray, "queries"] | None:
    """Outcomes at an epoch of a trial; None where they cannot be read."""
    try:
        return outcome.of(_read_kept(trial.folder, epoch))
    except _UNREADABLE:
        return None


def _read_kept(folder: str, epoch: int) -> Mapping[str, np.ndarray]:
    content = Folder.open(folder).child("ranks").read_bytes(f"epoch-{epoch:04d}.safetensors")
    kept: dict[str, np.ndarray] = load(content)
    return kept | {RANKS: kept[RANKS].astype(np.int64)}


def row_runs(
    name: str,
    trials: Iterable[TrialSummary],
    videos: VideosOfQueries,
    outcome: KeptOutcome,
    on_missing: Callable[[OutcomesError], None] | None = None,
) -> VariantRuns:
    """Runs of an ablation's row from its trials; failed trials count as runs that failed.

    Args:
        name: The row.
        trials: Trials of the row, unfinished ones left out.
        videos: The video of each validation query.
        outcome: What is compared.
        on_missing: Takes the error of a run whose ranks cannot be read; the run is left out.
            None: the error is raised.

    Raises:
        OutcomesError: A complete trial's ranks cannot be read.
        StatisticsError: Two trials have the same seed.
    """
    outcomes, failed = {}, []
    for trial in trials:
        if trial.variant != name or trial.seed is None or trial.state is TrialState.RUNNING:
            continue
        if trial.state is not TrialState.COMPLETE:
            failed.append(trial.seed)
            continue
        try:
            outcomes[trial.seed] = outcomes_of(trial, outcome)
        except OutcomesError as error:
            if on_missing is None:
                raise
            on_missing(error)
    return variant_runs(name, outcomes, videos, failed)


def ablation_runs(
    spec: SweepSpec,
    study: StudyReader,
    videos: VideosOfQueries,
    on_missing: Callable[[OutcomesError], None] | None = None,
) -> tuple[VariantRuns, ...]:
    """Runs of every row of an ablation, the baseline first; larger values are better.

    Args:
        spec: The sweep.
        study: Its study.
        videos: The video of each validation query.
        on_missing: See `row_runs`.

    Raises:
        OutcomesError: The ranks of a complete trial cannot be read.
    """
    outcome = kept_outcome(spec.objective.metric)
    assert outcome is not None, "a race needs an objective whose ranks are kept"
    trials = study.summaries()
    return tuple(row_runs(row.name, trials, videos, outcome, on_missing) for row in spec.rows)
