"""Reads the ranks of queries from trials' folders, as runs for the statistics."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import load

from orchestrator.base.errors import OutcomesError
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.crossed import Interval, one_model_mean
from orchestrator.statistics.outcomes import (
    VariantRuns,
    VideosOfQueries,
    depths_of,
    recall_outcomes,
    variant_runs,
)
from orchestrator.statistics.table import LEVEL
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary
from prvr_model.files.folder import Folder, StorageError

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
    try:
        return _read_ranks(trial.folder, trial.best_epoch or 0)
    except _UNREADABLE as error:
        raise OutcomesError(
            f"trial {trial.number}: the ranks of its best epoch cannot be read, without which it "
            f"cannot be compared: {error}"
        ) from error


def recall_interval(
    ranks: Int[np.ndarray, "queries"], metric: str, videos: VideosOfQueries
) -> Interval | None:
    """Interval of a recall for this model on new videos.

    Args:
        ranks: Fused ranks of the split's queries, from 1.
        metric: The recall, e.g. `test/SumR`.
        videos: The video of each query.

    Returns:
        None for another metric, and for a single video.
    """
    depths = depths_of(metric)
    if depths is None:
        return None
    return one_model_mean(recall_outcomes(ranks, depths), videos).interval_of_videos(LEVEL)


def epoch_ranks(trial: TrialSummary, epoch: int) -> Int[np.ndarray, "queries"] | None:
    """Ranks at an epoch of a trial; None where they cannot be read."""
    try:
        return _read_ranks(trial.folder, epoch)
    except _UNREADABLE:
        return None


def _read_ranks(folder: str, epoch: int) -> Int[np.ndarray, "queries"]:
    content = Folder.open(folder).child("ranks").read_bytes(f"epoch-{epoch:04d}.safetensors")
    ranks: Int[np.ndarray, queries] = load(content)["ranks"].astype(np.int64)
    return ranks


def row_runs(
    name: str,
    trials: Iterable[TrialSummary],
    videos: VideosOfQueries,
    depths: Sequence[int],
    on_missing: Callable[[OutcomesError], None] | None = None,
) -> VariantRuns:
    """Runs of an ablation's row from its trials; failed trials count as runs that failed.

    Args:
        name: The row.
        trials: Trials of the row, unfinished ones left out.
        videos: The video of each validation query.
        depths: Depths of the recalls that are summed.
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
            outcomes[trial.seed] = recall_outcomes(ranks_of(trial), depths)
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
    depths = depths_of(spec.objective.metric)
    assert depths is not None, "a race needs an objective whose ranks are kept"
    trials = study.summaries()
    return tuple(row_runs(row.name, trials, videos, depths, on_missing) for row in spec.rows)
