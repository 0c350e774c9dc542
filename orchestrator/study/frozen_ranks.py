"""Ranks by a data set's frozen features: the yardstick of every sweep on it.

They depend on the data alone, so a home computes them once, when the first sweep on it ends.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import load, save

from orchestrator.base.errors import OutcomesError
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.files.folder import Folder, StorageError
from prvr_model.reporting import RECALL_DEPTHS

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

_FOLDER = "frozen"
# Raised by one whenever a form gives other ranks than before.
_VERSION = 1
_SPLITS = ("val", "test")
_RELEVANCE = "evaluation.relevance"


@dataclass(frozen=True)
class FrozenRanks:
    """Ranks of each split's captions.

    Args:
        ranks: Rank of each caption's best correct video, from 1, by `SPLIT/FORM`, e.g.
            `val/segments`.
    """

    ranks: Mapping[str, Int[np.ndarray, "captions"]]

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that validation was ranked by."""
        return tuple(key.partition("/")[2] for key in self.ranks if key.startswith("val/"))

    def recalls(self, split: str, form: str) -> dict[str, float] | None:
        """`R1`, `R5`, `R10`, `R100` and `SumR` in percent; None without such a split."""
        ranks = self.ranks.get(f"{split}/{form}")
        if ranks is None:
            return None
        found = {f"R{depth}": 100 * float((ranks <= depth).mean()) for depth in RECALL_DEPTHS}
        return {**found, "SumR": sum(found.values())}


def keep_frozen_ranks(
    spec: SweepSpec, store: "FeatureStore", home: Path, warn: Callable[[str], None]
) -> None:
    """Rank a sweep's data by its frozen features, unless the home has these ranks.

    Without a space that text and video share, and where trials differ in what is relevant, there is
    nothing to rank. An error is shown and changes no result.
    """
    from prvr_model.retrieval.frozen import why_no_shared_space

    name = _file_name(spec, store.manifest.fingerprint)
    if name is None or why_no_shared_space(store.manifest) is not None:
        return
    try:
        folder = Folder.open(home.resolve() / _FOLDER)
        if not folder.exists(name):
            warn(f"ranking captions by the frozen features of {store.manifest.name}, once a home")
            folder.write_bytes(name, save(dict(_ranks(spec, store))))
    except Exception as error:  # noqa: BLE001  (the trials are done; the report does without)
        warn(f"the frozen features were not ranked: {type(error).__name__}: {error}")


def kept_frozen_ranks(spec: SweepSpec, fingerprint: str, home: Path) -> FrozenRanks | None:
    """The ranks that a home has of a sweep's data; None without them.

    Raises:
        OutcomesError: They cannot be read.
    """
    name = _file_name(spec, fingerprint)
    path = home.resolve() / _FOLDER
    if name is None or not (path / name).exists():
        return None
    try:
        tensors = load(Folder.open(path).read_bytes(name))
    except (OSError, StorageError, SafetensorError) as error:
        raise OutcomesError(
            f"{path / name} cannot be read ({error}), so the report has no frozen features; remove "
            "the file, and the next sweep on the data makes it again"
        ) from error
    return FrozenRanks({key: ranks.astype(np.int64) for key, ranks in sorted(tensors.items())})


def _file_name(spec: SweepSpec, fingerprint: str) -> str | None:
    relevances = spec.setting_values(_RELEVANCE)
    if len(relevances) != 1:
        return None
    return f"{fingerprint[:16]}-{relevances[0]}-{_VERSION}.safetensors"


def _ranks(spec: SweepSpec, store: "FeatureStore") -> Iterator[tuple[str, np.ndarray]]:
    from prvr_model.retrieval.evaluation import build_relevance
    from prvr_model.retrieval.frozen import FORMS, frozen_ranks
    from prvr_model.settings import EvaluationSettings

    (relevance,) = spec.setting_values(_RELEVANCE)
    settings = EvaluationSettings(relevance=relevance)
    for split in filter(store.has_split, _SPLITS):
        correct = build_relevance(store.split(split), settings).videos.numpy()
        for form in FORMS:
            yield f"{split}/{form}", frozen_ranks(store.split(split), correct, form).astype("i4")
