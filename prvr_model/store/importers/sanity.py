"""Finds features that are well-formed and yet cannot be meant: zeros, repetitions, odd norms.

Training on them loses days, so they end an import unless the user names them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from prvr_model.store.format import Kind

ALLOWABLE: Mapping[str, str] = {
    "zero-features": "videos or captions of nothing but zeros",
    "zero-sentence": "captions whose last row, the sentence vector, is zero",
    "repeated-rows": "videos or captions whose rows are all the same",
    "norms-differ": "splits whose rows differ in length",
}
"""What may be found, by the name that allows it."""

NORM_RATIO = 2.0
"""Mean norms of two splits of one encoder lie within 10 %; raw against normalised is 10 and more.
A factor of two stands well between."""

# Norms of so many rows of an item are taken: a mean needs no more.
_SAMPLED_ROWS = 16
_NAMED = 3


@dataclass(frozen=True)
class OddFeatures:
    """One kind of thing that was found.

    Args:
        name: The name that allows it.
        text: What was found, how often, where first, and what to do.
        is_new: False where the store itself remembers it and warns.
    """

    name: str
    text: str
    is_new: bool

    @property
    def kind(self) -> str:
        """Kind of the problem that it is unless it is allowed."""
        return self.name.replace("-", " ")

    @property
    def refusal(self) -> str:
        """The text, and the option that allows it."""
        return f"{self.text}; --allow {self.name} if it is meant"


@dataclass
class _Seen:
    """What has been seen of a kind."""

    count: int = 0
    ids: dict[str, list[str]] = field(default_factory=dict)
    norms: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, item_id: str) -> None:
        self.ids.setdefault(name, []).append(item_id)


class Sanity:
    """Looks at each item once and says in the end what was found."""

    def __init__(self) -> None:
        self._seen: dict[Kind, _Seen] = {}

    def see(self, kind: Kind, split: str, item_id: str, rows: np.ndarray) -> None:
        """Look at an item.

        Args:
            kind: Videos or captions.
            split: Its split.
            item_id: Id of the video or caption.
            rows: (rows, dim), finite.
        """
        seen = self._seen.setdefault(kind, _Seen())
        seen.count += 1
        if not rows.any():
            seen.note("zero-features", item_id)
            return
        if kind == "captions" and not rows[-1].any():
            seen.note("zero-sentence", item_id)
        if len(rows) > 1 and np.array_equal(rows[0], rows[-1]) and (rows == rows[0]).all():
            seen.note("repeated-rows", item_id)
        sample = rows[:: -(-len(rows) // _SAMPLED_ROWS)].astype(np.float64)
        norms = np.linalg.norm(sample, axis=1)
        if (valid := norms[norms > 0]).size:
            seen.norms.setdefault(split, []).append(float(valid.mean()))

    def findings(self) -> Iterator[OddFeatures]:
        """What was found, videos first."""
        for kind, seen in self._seen.items():
            for name, ids in seen.ids.items():
                shown = ", ".join(map(repr, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
                what, remedy = _TEXTS[name]
                text = f"{what} of {len(ids)} of {seen.count} {kind} ({shown}): {remedy}"
                yield OddFeatures(name, text, is_new=not name.startswith("zero"))
            yield from _norms_differ(kind, seen.norms)


_TEXTS = {
    "zero-features": ("zeros in every row", "make their features again"),
    "zero-sentence": (
        "a sentence vector of zeros, as padding is,",
        "--trim-padding cuts rows of zeros off the end",
    ),
    "repeated-rows": ("the same row throughout", "look at how their features were made"),
}


def _norms_differ(kind: Kind, norms: Mapping[str, list[float]]) -> Iterator[OddFeatures]:
    means = {split: float(np.mean(values)) for split, values in norms.items()}
    finite = {split: mean for split, mean in means.items() if np.isfinite(mean)}
    if finite and max(finite.values()) > NORM_RATIO * min(finite.values()):
        shown = ", ".join(f"{split} {mean:.3g}" for split, mean in finite.items())
        text = (
            f"rows of {kind} have mean norms that are far apart: {shown}; were some normalised, or "
            "made by another encoder?"
        )
        yield OddFeatures("norms-differ", text, is_new=True)


def without_padding(rows: np.ndarray) -> np.ndarray:
    """The rows without those of zeros at the end; all of them if nothing else is there."""
    valid = np.flatnonzero(rows.any(axis=1))
    return rows[: valid[-1] + 1] if len(valid) else rows
