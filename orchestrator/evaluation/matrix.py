"""Every subject on every split, and the differences of all subjects from the baseline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from orchestrator.base.addresses import user_path
from orchestrator.base.errors import EvaluationError, QueryError
from orchestrator.base.text import suggestion
from orchestrator.evaluation.scores import (
    SliceScore,
    SplitScores,
    split_scores,
    videos_of,
)
from orchestrator.evaluation.subjects import Subject
from orchestrator.statistics.finished_models import (
    ModelDifference,
    judged_together,
    model_difference,
)
from orchestrator.statistics.outcomes import VideosOfQueries
from prvr_model.reporting import OWN
from prvr_model.retrieval.query_slices import QuerySlice, query_slices
from prvr_model.store.format import SPLIT_NAMES, is_store
from prvr_model.store.reader import FeatureStore


@dataclass(frozen=True)
class Target:
    """A split of a store.

    Args:
        place: The store as the user calls it.
        store: The store.
        split: Name of the split.
    """

    place: str
    store: FeatureStore
    split: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        """From `STORE` or `STORE:SPLIT`; by default `test`, else the last split that there is.

        Raises:
            StoreError: There is no such store, or no such split.
            QueryError: What follows the colon is no split.
        """
        place, colon, split = text.rpartition(":")
        if split not in SPLIT_NAMES and colon and is_store(user_path(place or text)):
            raise QueryError(
                f"--on {text}: found split {split!r}; allowed: {', '.join(SPLIT_NAMES)}"
                f"{suggestion(split, SPLIT_NAMES)}"
            )
        if split not in SPLIT_NAMES or not place:
            place, split = text, ""
        store = FeatureStore.open(user_path(place))
        named = split or next(name for name in reversed(SPLIT_NAMES) if store.has_split(name))
        return cls(place, store, store.split(named).name)

    @property
    def name(self) -> str:
        """What messages and tables call it."""
        return f"{self.place}:{self.split}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        split, manifest = self.store.split(self.split), self.store.manifest
        return {
            "name": self.name,
            "path": str(self.store.path),
            "split": self.split,
            "data": manifest.name,
            "fingerprint": manifest.fingerprint,
            "recipe": manifest.recipe.model_dump(mode="json") if manifest.recipe else None,
            "videos": len(split.video_ids),
            "captions": len(split.caption_ids),
        }


@dataclass(frozen=True)
class Cell:
    """A subject on a target.

    Args:
        subject: The subject.
        target: The target.
        scores: Its numbers.
        differences: Of SumR from the baseline, by what is correct (`own`, `verified`); corrected
            over all of the matrix. None of the baseline.
        slice_differences: Of SumR in each slice; corrected over the slices of this cell.
    """

    subject: Subject
    target: Target
    scores: SplitScores
    differences: Mapping[str, ModelDifference]
    slice_differences: tuple[ModelDifference, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        gains = [asdict(each) for each in self.slice_differences]
        return {
            "model": self.subject.name,
            "on": self.target.name,
            **self.scores.to_dict(),
            "differences": {name: asdict(found) for name, found in self.differences.items()},
            "slice_differences": gains,
        }


@dataclass(frozen=True)
class Matrix:
    """All cells, target by target, subjects in the order named.

    Args:
        subjects: The rows.
        targets: The columns.
        baseline: What the others are compared with.
        cells: One for each pair.
        notes: What a reader of the numbers must know.
    """

    subjects: tuple[Subject, ...]
    targets: tuple[Target, ...]
    baseline: Subject
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]

    def on(self, target: Target) -> tuple[Cell, ...]:
        """The cells of a target."""
        return tuple(cell for cell in self.cells if cell.target is target)

    @property
    def num_differences(self) -> int:
        """Differences that the verdicts are corrected over; those in slices are apart."""
        return sum(len(cell.differences) for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "models": [
                {"name": each.name, "source": each.source, "identity": each.identity}
                for each in self.subjects
            ],
            "stores": [target.to_dict() for target in self.targets],
            "baseline": self.baseline.name,
            "results": [cell.to_dict() for cell in self.cells],
            "notes": list(self.notes),
        }


def evaluate(
    subjects: Sequence[Subject],
    targets: Sequence[Target],
    baseline: str | None = None,
    *,
    transfer: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Matrix:
    """Evaluate every subject on every target; nothing is written.

    Args:
        subjects: What is evaluated, each once.
        targets: Where.
        baseline: Name of the subject that the others are compared with; None: the first.
        transfer: Whether features that were made in another way are meant.
        say: Takes a line about what is evaluated now.

    Raises:
        EvaluationError: Subjects do not fit targets; all pairs are listed before any is evaluated.
        QueryError: The baseline is not among the subjects.
    """
    first = _baseline(subjects, baseline)
    pairs = [(subject, target) for target in targets for subject in subjects]
    if misfits := [
        line
        for subject, target in pairs
        for line in subject.misfits(target.store, transfer=transfer)
    ]:
        raise EvaluationError("\n".join(dict.fromkeys(misfits)))
    with TemporaryDirectory(prefix="prvr-evaluate-") as scratch:
        cells = [
            cell
            for target in targets
            for cell in _column(subjects, first, _Column.of(target), Path(scratch), say)
        ]
    notes = [
        note for subject, target in pairs for note in subject.notes(target.store, target.split)
    ]
    unique = tuple(dict.fromkeys(notes))
    return Matrix(tuple(subjects), tuple(targets), first, _judged(cells), unique)


def _baseline(subjects: Sequence[Subject], name: str | None) -> Subject:
    names = [subject.name for subject in subjects]
    if name is not None and name not in names:
        raise QueryError(
            f"--baseline: found {name!r}; allowed: one of the models that are evaluated, "
            f"{', '.join(names)}"
        )
    return subjects[0 if name is None else names.index(name)]


@dataclass(frozen=True)
class _Column:
    """What all subjects of a target share."""

    target: Target
    videos: VideosOfQueries
    slices: tuple[QuerySlice, ...]

    @classmethod
    def of(cls, target: Target) -> "_Column":
        split = target.store.split(target.split)
        slices = query_slices(split, target.store.manifest.seconds_per_row)
        return cls(target, VideosOfQueries(np.asarray(split.caption_video)), slices)


def _column(
    subjects: Sequence[Subject],
    baseline: Subject,
    column: _Column,
    scratch: Path,
    say: Callable[[str], None],
) -> list[Cell]:
    scores = {}
    for subject in subjects:
        say(f"{subject.name} on {column.target.name}")
        found = subject.evaluate(column.target.store, column.target.split, scratch)
        scores[subject.name] = split_scores(found, column.videos, column.slices)
    reference = scores[baseline.name]
    return [
        Cell(subject, column.target, scores[subject.name], {})
        if subject is baseline
        else _compared(subject, scores[subject.name], reference, column)
        for subject in subjects
    ]


def _compared(
    subject: Subject, scores: SplitScores, reference: SplitScores, column: _Column
) -> Cell:
    """A cell whose differences from the baseline are not judged yet."""
    differences = {
        name: model_difference(view.outcomes, reference.views[name].outcomes, column.videos)
        for name, view in scores.views.items()
    }
    gains = [_slice_difference(each, scores, reference, column) for each in scores.slices]
    return Cell(subject, column.target, scores, differences, judged_together(gains))


def _slice_difference(
    score: SliceScore, scores: SplitScores, reference: SplitScores, column: _Column
) -> ModelDifference:
    rows = score.slice.captions
    own, other = (each.views[OWN].outcomes[rows] for each in (scores, reference))
    return model_difference(own, other, videos_of(score.slice, column.videos))


def _judged(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells with verdicts, corrected over all differences of the matrix."""
    every = [difference for cell in cells for difference in cell.differences.values()]
    judged = iter(judged_together(every))
    return tuple(
        replace(cell, differences={name: next(judged) for name in cell.differences})
        for cell in cells
    )
