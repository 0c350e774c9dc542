"""What queries came to in each trial: ranks in the trials' folders as runs for the statistics."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import load

from orchestrator.errors import OutcomesError
from orchestrator.statistics.outcomes import (
    VariantRuns,
    VideosOfQueries,
    recall_outcomes,
    variant_runs,
)
from orchestrator.trial import TrialState, TrialSummary

if TYPE_CHECKING:
    from prvr_model.feature_store import FeatureStore

VALIDATION = "val"


def validation_videos(store: "FeatureStore") -> VideosOfQueries:
    """The video of each validation query."""
    return VideosOfQueries(np.asarray(store.split(VALIDATION).caption_video))


def ranks_of(trial: TrialSummary) -> Int[np.ndarray, "queries"]:
    """Rank of each validation query's best correct video at the trial's best epoch.

    Raises:
        OutcomesError: The folder has no such file, or it cannot be read.
    """
    from prvr_model.storage import Folder, StorageError

    name = f"epoch-{trial.best_epoch or 0:04d}.safetensors"
    try:
        content = Folder.open(trial.folder).child("ranks").read_bytes(name)
        ranks: Int[np.ndarray, queries] = load(content)["ranks"].astype(np.int64)
        return ranks
    except (OSError, StorageError, SafetensorError, KeyError, ValueError) as error:
        raise OutcomesError(
            f"trial {trial.number}: the ranks of its best epoch cannot be read "
            f"({trial.folder}/ranks/{name}: {error}); without them its row has one run less"
        ) from error


def row_runs(
    name: str, trials: Iterable[TrialSummary], videos: VideosOfQueries, depths: Sequence[int]
) -> VariantRuns:
    """Runs of an ablation's row from its trials; failed ones count as asked for.

    Args:
        name: The row.
        trials: Trials of the row, unfinished ones left out.
        videos: The video of each validation query.
        depths: Depths of the recalls that are summed.

    Raises:
        OutcomesError: A complete trial's ranks cannot be read.
        StatisticsError: Two trials have the same seed.
    """
    outcomes, failed = {}, []
    for one in trials:
        if one.variant != name or one.seed is None or one.state is TrialState.RUNNING:
            continue
        if one.state is TrialState.COMPLETE:
            outcomes[one.seed] = recall_outcomes(ranks_of(one), depths)
        else:
            failed.append(one.seed)
    return variant_runs(name, outcomes, videos, failed)
