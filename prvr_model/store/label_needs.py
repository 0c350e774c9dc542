"""Which settings need verified labels, and the refusal of splits that have none."""

from collections.abc import Iterator
from dataclasses import dataclass

from prvr_model.errors import StoreError
from prvr_model.settings import Settings
from prvr_model.store.reader import StoreSplit


@dataclass(frozen=True)
class LabelNeed:
    """What needs verified labels of a split.

    Args:
        split: The split.
        asked: What asks for them.
        instead: What the user can change so that nothing asks.
    """

    split: str
    asked: str
    instead: str


RELEVANCE = LabelNeed(
    "val", "evaluation.relevance is verified", "set evaluation.relevance to annotation"
)
BEST_EPOCH = LabelNeed(
    "val",
    "evaluation.best_epoch_by is a metric of verified labels",
    "set evaluation.best_epoch_by to SumR",
)
NEGATIVES = LabelNeed(
    "train", "losses.ignore_relevant is true", "set losses.ignore_relevant to false"
)


def needed_labels(settings: Settings) -> Iterator[LabelNeed]:
    """What training with these settings needs labels for."""
    if settings.evaluation.relevance == "verified":
        yield RELEVANCE
    if settings.evaluation.best_epoch_by != "SumR":
        yield BEST_EPOCH
    if settings.losses.ignore_relevant:
        yield NEGATIVES


def require_labels(split: StoreSplit, need: LabelNeed) -> None:
    """Refuse a split without verified labels.

    Raises:
        StoreError: No caption of the split has a label.
    """
    if not split.has_labels:
        raise StoreError(
            f"{need.asked}, but no caption of split {split.name} has verified videos; import the "
            f"data with --relevance FILE, or {need.instead}"
        )
