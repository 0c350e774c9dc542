"""Ranks by a data set's frozen features: the yardstick of every sweep on it.

They depend on the data alone, so a home computes them once, when the first sweep on it ends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import load, save

from orchestrator.base.errors import OutcomesError
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.files.folder import Folder, StorageError
from prvr_model.reporting import MAP, NDCG, OWN, RANKS, RECALL_DEPTHS, VERIFIED, beside_name

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

_FOLDER = "frozen"
# Raised by one whenever a form gives other ranks than before.
_VERSION = 1
_LABELS_VERSION = 1
_SPLITS = ("val", "test")
_RELEVANCE = "evaluation.relevance"


@dataclass(frozen=True)
class FrozenRanks:
    """Ranks of each split's captions.

    Args:
        ranks: Rank of each caption's best correct video, from 1, by `SPLIT/FORM`, e.g.
            `val/segments`.
        labelled: Of splits with verified labels, what is kept of each caption by
            `SPLIT/FORM/NAME`: `own` and `verified` ranks, and shares of nDCG and mAP in percent.
    """

    ranks: Mapping[str, Int[np.ndarray, "captions"]]
    labelled: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that validation was ranked by."""
        return tuple(key.partition("/")[2] for key in self.ranks if key.startswith("val/"))

    def kept(self, split: str, form: str) -> dict[str, np.ndarray]:
        """What is kept of each caption by name, as of a trial; empty without such a split."""
        place = f"{split}/{form}"
        below = f"{place}/"
        found = {
            key.removeprefix(below): values
            for key, values in self.labelled.items()
            if key.startswith(below)
        }
        return found | ({RANKS: self.ranks[place]} if place in self.ranks else {})

    def recalls(self, split: str, form: str) -> dict[str, float] | None:
        """`R1`, `R5`, `R10`, `R100` and `SumR` in percent; None without such a split.

        Where there are verified labels the same below `verified/`, with nDCG and mAP, and below
        `own/`.
        """
        kept = self.kept(split, form)
        if RANKS not in kept:
            return None
        found = _recalls(kept[RANKS])
        for name in {OWN, VERIFIED} & kept.keys():
            found |= {f"{name}/{metric}": value for metric, value in _recalls(kept[name]).items()}
        shares = {name: kept.get(beside_name(name)) for name in (NDCG, MAP)}
        return found | {
            f"{VERIFIED}/{name}": float(share.astype(np.float64).mean())
            for name, share in shares.items()
            if share is not None
        }


def _recalls(ranks: Int[np.ndarray, "captions"]) -> dict[str, float]:
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

    names = _file_names(spec, store.manifest.fingerprint)
    if names is None or why_no_shared_space(store.manifest) is not None:
        return
    try:
        splits = [split for split in _SPLITS if store.has_split(split)]
        labelled = [split for split in splits if store.split(split).has_labels]
        wanted = {names[0]: partial(_ranks, spec, store, splits)}
        wanted |= {names[1]: partial(_labelled, store, labelled)} if labelled else {}
        folder = Folder.open(home.resolve() / _FOLDER)
        missing = {name: make for name, make in wanted.items() if not folder.exists(name)}
        if missing:
            warn(f"ranking captions by the frozen features of {store.manifest.name}, once a home")
        for name, make in missing.items():
            folder.write_bytes(name, save(dict(make())))
    except Exception as error:  # noqa: BLE001  (the trials are done; the report does without)
        warn(f"the frozen features were not ranked: {type(error).__name__}: {error}")


def kept_frozen_ranks(spec: SweepSpec, fingerprint: str, home: Path) -> FrozenRanks | None:
    """The ranks that a home has of a sweep's data; None without them.

    Raises:
        OutcomesError: They cannot be read.
    """
    names = _file_names(spec, fingerprint)
    path = home.resolve() / _FOLDER
    if names is None or not (path / names[0]).exists():
        return None
    ranks, labelled = (_read(path, name) for name in names)
    return FrozenRanks({key: found.astype(np.int64) for key, found in ranks.items()}, labelled)


def _read(path: Path, name: str) -> dict[str, np.ndarray]:
    """Content of a file, by sorted name; empty if there is none."""
    if not (path / name).exists():
        return {}
    try:
        return dict(sorted(load(Folder.open(path).read_bytes(name)).items()))
    except (OSError, StorageError, SafetensorError) as error:
        raise OutcomesError(
            f"{path / name} cannot be read ({error}), so the report has no frozen features; remove "
            "the file, and the next sweep on the data makes it again"
        ) from error


def _file_names(spec: SweepSpec, fingerprint: str) -> tuple[str, str] | None:
    """Files of the ranks by the sweep's relevance, and of those by verified labels."""
    relevances = spec.setting_values(_RELEVANCE)
    if len(relevances) != 1:
        return None
    kinds = (f"{relevances[0]}-{_VERSION}", f"labels-{_LABELS_VERSION}")
    first, second = (f"{fingerprint[:16]}-{kind}.safetensors" for kind in kinds)
    return first, second


def _ranks(
    spec: SweepSpec, store: "FeatureStore", splits: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    from prvr_model.retrieval.frozen import FORMS, frozen_ranks
    from prvr_model.retrieval.relevance import build_relevance
    from prvr_model.settings import EvaluationSettings

    (relevance,) = spec.setting_values(_RELEVANCE)
    settings = EvaluationSettings(relevance=relevance)
    for split in splits:
        correct = build_relevance(store.split(split), settings).videos.numpy()
        for form in FORMS:
            yield f"{split}/{form}", frozen_ranks(store.split(split), correct, form).astype("i4")


def _labelled(store: "FeatureStore", splits: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    from prvr_model.retrieval.evaluation import evaluate_frozen
    from prvr_model.retrieval.frozen import FORMS

    for split in splits:
        for form in FORMS:
            for name, values in evaluate_frozen(store.split(split), form).kept.items():
                yield f"{split}/{form}/{OWN if name == RANKS else name}", values
