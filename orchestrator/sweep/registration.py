"""Exports the best trials of a sweep and registers them as versions of a model."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import RegistryError, TrackingOutageError
from orchestrator.base.text import error_line
from orchestrator.report.model_card import CardFacts, model_card
from orchestrator.spec.objectives import COSTS
from orchestrator.statistics.crossed import Interval
from orchestrator.study.history import checkpoint_rows
from orchestrator.study.outcomes import kept_of, mean_interval
from orchestrator.study.reader import StudyReader
from orchestrator.study.storage import set_study_attributes
from orchestrator.study.test_scores import (
    SCORING_FAILED,
    Scores,
    kept_scores,
    why_unscored,
)
from orchestrator.study.trial import TrialSummary
from orchestrator.sweep.context import SweepContext
from orchestrator.sweep.trial_teller import now_ms
from orchestrator.tracking.events import registered_event
from orchestrator.tracking.model_version import RegisteredVersion, SweepOrigin, VersionCandidate
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.registry import lost_models, register_champion
from prvr_model.errors import PrvrError

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

_NOT_SCORED = "it was not scored on test"


@dataclass(frozen=True)
class Registration:
    """The registered versions, best first, or the problem that prevented registering."""

    versions: tuple[RegisteredVersion, ...] = ()
    problem: str | None = None


def register_best(
    context: SweepContext, store: "FeatureStore", selected: Sequence[TrialSummary], scores: Scores
) -> Registration:
    """Export the best epoch of each selected trial and register it.

    Args:
        context: The sweep.
        store: Its data.
        selected: Complete trials, best first.
        scores: Their scores on test, for those that have one.
    """
    untested = why_unscored(context.spec, store) or SCORING_FAILED
    return _register(context, selected, scores, untested)


def register_again(
    context: SweepContext, study: StudyReader, outbox: Outbox, say: Callable[[str], None]
) -> str | None:
    """Register trials again whose versions or models are gone from the registry.

    Args:
        context: The sweep, none of whose trials runs.
        study: Its study.
        outbox: Its outbox, open for writing.
        say: Takes a line about each model that is registered again.

    Returns:
        What prevents it; None if nothing does.
    """
    numbers = [record["number"] for record in study.attributes.get("registered", ())]
    trials = [study.summary(number) for number in numbers]
    try:
        keys = {trial.number: trial.key for trial in trials}
        lost = lost_models(context.locations.tracking, _origin(context), keys) if keys else []
        if not lost:
            return None
        registration = _register(context, trials, kept_scores(study), _NOT_SCORED)
    except PrvrError as error:
        return f"models that are gone cannot be registered again: {error}"
    for version in registration.versions:
        if version.trial in lost:
            alias = f" as {version.alias}" if version.alias else ""
            say(
                f"MLflow: the model of trial {version.trial} was gone; registered again: "
                f"{version.model} version {version.version}{alias}"
            )
    if registration.versions:
        tell_registered(context, outbox, registration.versions)
    return registration.problem


def _register(
    context: SweepContext, selected: Sequence[TrialSummary], scores: Scores, untested: str
) -> Registration:
    if not selected:
        return Registration()
    try:
        return Registration(_versions(context, selected, scores, untested))
    except (RegistryError, TrackingOutageError) as error:
        return Registration(problem=str(error))
    except Exception as error:  # noqa: BLE001  (told with the result; the trials are safe)
        return Registration(problem=f"the best model was not registered: {error_line(error)}")


def register_by_hand(
    context: SweepContext, outbox: Outbox, trial: TrialSummary, scores: Scores
) -> RegisteredVersion:
    """Register a complete trial beside those that are registered.

    Args:
        context: The sweep, none of whose trials runs.
        outbox: Its outbox, open for writing.
        trial: The trial.
        scores: Scores of its trials on test, for those that have one.

    Raises:
        RegistryError: The trial's run is not in MLflow.
        TrackingOutageError: MLflow cannot be reached.
        CheckpointError: Its checkpoint is gone.
    """
    (version,) = _versions(context, [trial], scores, _NOT_SCORED)
    kept = StudyReader.open(context.url, context.spec.name).attributes.get("registered", ())
    others = [record for record in kept if record["number"] != trial.number]
    tell_registered(context, outbox, [version], others)
    return version


def _versions(
    context: SweepContext, selected: Sequence[TrialSummary], scores: Scores, untested: str
) -> tuple[RegisteredVersion, ...]:
    with tempfile.TemporaryDirectory(prefix="prvr-export-") as folder:
        candidates = [
            _candidate(context, trial, scores, Path(folder), untested) for trial in selected
        ]
        return register_champion(context.locations.tracking, _origin(context), candidates)


def tell_registered(
    context: SweepContext,
    outbox: Outbox,
    versions: Sequence[RegisteredVersion],
    before: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Link versions with the runs of their trials; the study keeps the links for a lost outbox.

    Args:
        context: The sweep.
        outbox: Its outbox, open for writing.
        versions: The versions, best first.
        before: Records of other versions of the sweep, which stay.
    """
    records = [*before, *(version.to_record() for version in versions)]
    set_study_attributes(context.url, context.spec.name, {"registered": records})
    outbox.append(registered_event(records, now_ms()))


def _candidate(
    context: SweepContext,
    trial: TrialSummary,
    scores: Scores,
    folder: Path,
    untested: str,
) -> VersionCandidate:
    from prvr_model.files.folder import Folder
    from prvr_model.network.model_file import export_model, exported_settings

    assert trial.value is not None
    assert trial.best_epoch is not None
    export = folder / f"{trial.number:05d}"
    export_model(Folder.open(trial.folder), export)
    metric, model = context.spec.objective.metric, exported_settings(export).model
    score = scores.get(trial.number)
    interval, data = _validation_interval(context, trial), context.data.manifest
    return VersionCandidate(
        trial.number,
        trial.key,
        trial.value,
        trial.best_epoch,
        export,
        score.metrics if score else None,
        untested,
        score.moments.metrics if score and score.moments else {},
        model_card(CardFacts(metric, trial, model, interval, score, data, _costs(trial))),
    )


def _costs(trial: TrialSummary) -> dict[str, float]:
    """What a trial reported that its model costs, at its last epoch."""
    rows = checkpoint_rows(trial.folder)
    metrics = rows[-1].metrics if rows else {}
    return {name: metrics[name] for name in COSTS if name in metrics}


def _validation_interval(context: SweepContext, trial: TrialSummary) -> Interval | None:
    """Interval of a trial's value on new videos; None where its ranks cannot be read."""
    if context.data.videos is None:
        return None
    try:
        videos = context.data.videos()
        return mean_interval(kept_of(trial), context.spec.objective.metric, videos)
    except (PrvrError, ValueError):
        return None


def _origin(context: SweepContext) -> SweepOrigin:
    spec = context.spec
    return SweepOrigin(
        sweep=spec.name,
        sweep_id=context.outbox_id,
        data_set=context.data.name,
        data_fingerprint=context.data.fingerprint,
        metric=spec.objective.metric,
        direction=spec.objective.direction,
        protocol=spec.protocol,
    )
