"""Which videos are correct for each caption of a split."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from prvr_model.reporting import OWN, VERIFIED
from prvr_model.retrieval.metrics import (
    Relevance,
    listed_relevance,
    relevance_of_same_text,
    single_relevance,
)
from prvr_model.settings import EvaluationSettings
from prvr_model.store.label_needs import RELEVANCE, require_labels
from prvr_model.store.reader import StoreSplit


def build_relevance(split: StoreSplit, settings: EvaluationSettings) -> Relevance:
    """Correct videos of each caption of a split, beside them those of its verified labels.

    Raises:
        StoreError: Verified labels are asked for, and the split has none.
    """
    owners = torch.from_numpy(np.array(split.caption_video))
    beside: dict[str, Relevance] = {}
    if settings.relevance == "verified":
        require_labels(split, RELEVANCE)
    if split.has_labels:
        beside[VERIFIED] = verified_relevance(split)
    if beside and settings.relevance != "annotation":
        beside[OWN] = single_relevance(owners)
    return Relevance(_main_relevance(split, owners, settings, beside).videos, beside)


def _main_relevance(
    split: StoreSplit,
    owners: Int[Tensor, "captions"],
    settings: EvaluationSettings,
    beside: Mapping[str, Relevance],
) -> Relevance:
    if settings.relevance == "annotation":
        return single_relevance(owners)
    if settings.relevance == "verified":
        return beside[VERIFIED]
    _, text_ids = np.unique(np.asarray(split.caption_texts), return_inverse=True)
    return relevance_of_same_text(owners, torch.from_numpy(text_ids.astype(np.int64)))


def verified_relevance(split: StoreSplit) -> Relevance:
    """The videos of the store's verified labels; a caption's own video where it has no label."""
    pairs = zip(split.relevant, split.caption_video.tolist(), strict=True)
    return listed_relevance([videos or [own] for videos, own in pairs])
