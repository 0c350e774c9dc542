"""Scores the winner of each data set on the test split, else val, of every data set."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evaluation.scores import SplitScores, split_scores
from orchestrator.evaluation.subjects import (
    FROZEN,
    FrozenFeatures,
    SavedModel,
    Subject,
    SubjectOptions,
    find_subjects,
)
from orchestrator.joint.sweep import JointSweep
from orchestrator.report.transfer import SUM, Transfer, TransferCell, transfer_of
from orchestrator.spec.data import open_data
from orchestrator.statistics.finished_models import (
    ModelDifference,
    judged_together,
    model_difference,
)
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.study.confirmation import crowned
from orchestrator.study.joint_record import keep_transfer
from orchestrator.study.trial import TrialSummary
from orchestrator.tracking.store import TrackingStore
from prvr_model.reporting import OWN
from prvr_model.retrieval.frozen import why_no_shared_space

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore


@dataclass(frozen=True)
class _Target:
    """A data set whose queries are answered."""

    data: str
    store: "FeatureStore"
    split: str

    @property
    def videos(self) -> VideosOfQueries:
        """The video of each query."""
        return VideosOfQueries(np.asarray(self.store.split(self.split).caption_video))


@dataclass(frozen=True)
class _Scored:
    """A row on a target: its scores, or why it has none."""

    source: str
    target: _Target
    scores: SplitScores | None
    why: str = ""


def score_transfer(joint: JointSweep, say: Callable[[str], None]) -> None:
    """Score all winners on all data sets; an error changes no result.

    What was scored already is not scored again while models and stores are the same.
    """
    try:
        winners = _winners(joint)
        targets = [_target(joint, data, say) for data in joint.spec.parts]
        key = _key(winners, targets)
        known = transfer_of(joint.home, joint.name)
        if len(winners) > 1 and (known is None or known.key != key):
            found = _matrix(joint, winners, targets, key, say)
            keep_transfer(joint.home, joint.name, asdict(found))
    except Exception as error:  # noqa: BLE001  (the trials are done and safe; resume scores again)
        say(f"transfer was not scored: {type(error).__name__}: {error}")


def _winners(joint: JointSweep) -> dict[str, TrialSummary]:
    """The winner of each data set that has one."""
    studies = {data: joint.study(data) for data in joint.spec.parts}
    found = {data: crowned(study, 1) for data, study in studies.items() if study is not None}
    return {data: trials[0] for data, trials in found.items() if trials}


def _target(joint: JointSweep, data: str, say: Callable[[str], None]) -> _Target:
    part = joint.spec.parts[data]
    study = joint.study(data)
    fingerprint = study.attributes.get("data_fingerprint") if study else None
    store = open_data(part.data, joint.home, say, fingerprint)
    has_test = store.has_split("test") and part.protocol != "paper"
    return _Target(data, store, "test" if has_test else "val")


def _key(winners: Mapping[str, TrialSummary], targets: list[_Target]) -> str:
    models = [(data, trial.key, trial.best_epoch) for data, trial in winners.items()]
    stores = [(each.data, each.store.manifest.fingerprint, each.split) for each in targets]
    return hashlib.sha256(repr((models, stores)).encode()).hexdigest()


def _matrix(
    joint: JointSweep,
    winners: Mapping[str, TrialSummary],
    targets: list[_Target],
    key: str,
    say: Callable[[str], None],
) -> Transfer:
    models = {
        data: f"{joint.spec.parts[data].name}/{trial.number}" for data, trial in winners.items()
    }
    options = SubjectOptions(joint.home, TrackingStore.of_home(joint.home), None, {}, {})
    subjects: dict[str, Subject] = dict(
        zip(models, find_subjects(list(models.values()), options), strict=True)
    )
    subjects |= {f"frozen:{form}": FrozenFeatures(f"frozen:{form}", form)
                 for form in dict.fromkeys(FROZEN.values())}  # fmt: skip
    with TemporaryDirectory(prefix="prvr-transfer-") as scratch:
        scored = [
            each for target in targets for each in _column(subjects, target, Path(scratch), say)
        ]
    # Where no data set has a space that text and video share, the frozen rows are left out.
    shown = [
        each
        for each in scored
        if each.source in models
        or any(other.scores for other in scored if other.source == each.source)
    ]
    splits = {target.data: target.split for target in targets}
    return Transfer(key, models, splits, _cells(shown), tuple(_notes(subjects, shown)))


def _notes(subjects: Mapping[str, Subject], scored: list[_Scored]) -> list[str]:
    """What a reader must know, each once: what does not fit and why, what flatters, recipes."""
    notes = [each.why for each in scored if each.why]
    for each in scored:
        if each.source == each.target.data and each.target.split != "test":
            notes.append(
                f"The winner of {each.source} was selected on {each.target.split} of its data: its "
                "number there flatters it."
            )
    moved = [each for each in scored if each.scores and each.source != each.target.data]
    if any(_is_doubtful(subjects[each.source], each.target) for each in moved):
        notes.append(
            "Features of these data sets are not known to be made in the same way, although their "
            "dimensions agree: part of a difference may be that."
        )
    return list(dict.fromkeys(notes))


def _is_doubtful(subject: Subject, target: _Target) -> bool:
    """Whether a model's features and a target's are not known to be made in the same way."""
    if not isinstance(subject, SavedModel):
        return False
    recipe = target.store.manifest.recipe
    return recipe is None or bool(subject.misfits(target.store, transfer=False))


def _column(
    subjects: Mapping[str, Subject], target: _Target, scratch: Path, say: Callable[[str], None]
) -> Iterator[_Scored]:
    videos = target.videos
    for source, subject in subjects.items():
        if why := _misfit(source, subject, target):
            yield _Scored(source, target, None, why)
            continue
        if isinstance(subject, SavedModel):
            say(f"transfer: the winner of {source} on {target.split} of {target.data}")
        found = subject.evaluate(target.store, target.split, scratch)
        yield _Scored(source, target, split_scores(found, videos, ()))


def _misfit(source: str, subject: Subject, target: _Target) -> str:
    """Why a row cannot be scored on a target; empty if it can."""
    if not subject.misfits(target.store, transfer=True):
        return ""
    if not isinstance(subject, SavedModel):
        why = why_no_shared_space(target.store.manifest)
        return f"Frozen features retrieve nothing on {target.data}: {why}."
    own, manifest = subject.saved, target.store.manifest
    return (
        f"The winner of {source} does not fit {target.data}: it takes {own.video_dim} values a row "
        f"of a video and {own.text_dim} a token, {target.data} has {manifest.video_dim} and "
        f"{manifest.text_dim}."
    )


def _cells(scored: list[_Scored]) -> tuple[TransferCell, ...]:
    """Cells with their differences from each target's own winner, judged together."""
    own = {each.target.data: each.scores for each in scored if each.source == each.target.data}
    found = {place: _difference(each, own) for place, each in enumerate(scored)}
    compared = {place: each for place, each in found.items() if each is not None}
    judged = dict(zip(compared, judged_together(list(compared.values())), strict=True))
    return tuple(_cell(each, judged.get(place)) for place, each in enumerate(scored))


def _difference(each: _Scored, own: Mapping[str, SplitScores | None]) -> ModelDifference | None:
    reference = own.get(each.target.data)
    if each.source == each.target.data or each.scores is None or reference is None:
        return None
    outcomes = (each.scores.views[OWN].outcomes, reference.views[OWN].outcomes)
    return model_difference(*outcomes, each.target.videos)


def _cell(each: _Scored, difference: ModelDifference | None) -> TransferCell:
    if each.scores is None:
        return TransferCell(each.source, each.target.data, why=each.why)
    metrics = each.scores.views[OWN].metrics
    recalls = {name: measured.value for name, measured in metrics.items()}
    plain = TransferCell(each.source, each.target.data, recalls, metrics[SUM].interval)
    if difference is None:
        return plain
    return TransferCell(
        each.source,
        each.target.data,
        recalls,
        plain.interval,
        difference.value,
        difference.interval,
        difference.corrected_p,
        difference.verdict,
    )
