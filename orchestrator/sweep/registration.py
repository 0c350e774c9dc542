"""Exports the best trials of a sweep and registers them as versions of a model."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.errors import RegistryError, TrackingOutageError
from orchestrator.study.storage import set_study_attributes
from orchestrator.study.test_scores import SCORING_FAILED, Scores, why_unscored
from orchestrator.study.trial import TrialSummary
from orchestrator.sweep.context import SweepContext
from orchestrator.sweep.trial_teller import now_ms
from orchestrator.tracking.events import registered_event
from orchestrator.tracking.model_version import SweepOrigin, VersionCandidate
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.registry import RegisteredVersion, register_champion

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore


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
    if not selected:
        return Registration()
    untested = why_unscored(context.spec, store) or SCORING_FAILED
    with tempfile.TemporaryDirectory(prefix="prvr-export-") as folder:
        candidates = [_candidate(trial, scores, untested, Path(folder)) for trial in selected]
        try:
            versions = register_champion(
                context.locations.tracking, _origin(context, store), candidates
            )
        except (RegistryError, TrackingOutageError) as error:
            return Registration(problem=str(error))
    return Registration(versions)


def tell_registered(
    context: SweepContext, outbox: Outbox, versions: Sequence[RegisteredVersion]
) -> None:
    """Link versions with the runs of their trials; the study keeps the links for a lost outbox."""
    records = [version.to_record() for version in versions]
    set_study_attributes(context.url, context.spec.name, {"registered": records})
    outbox.append(registered_event(records, now_ms()))


def _candidate(
    trial: TrialSummary, scores: Scores, untested: str, folder: Path
) -> VersionCandidate:
    from prvr_model.files.folder import Folder
    from prvr_model.network.model_file import export_model

    assert trial.value is not None
    assert trial.best_epoch is not None
    export = folder / f"{trial.number:05d}"
    export_model(Folder.open(trial.folder), export)
    score = scores.get(trial.number)
    return VersionCandidate(
        trial.number,
        trial.key,
        trial.value,
        trial.best_epoch,
        export,
        score.metrics if score else None,
        untested,
    )


def _origin(context: SweepContext, store: "FeatureStore") -> SweepOrigin:
    spec, manifest = context.spec, store.manifest
    return SweepOrigin(
        sweep=spec.name,
        sweep_id=context.outbox_id,
        data_set=manifest.name,
        data_fingerprint=manifest.fingerprint,
        metric=spec.objective.metric,
        direction=spec.objective.direction,
        protocol=spec.protocol,
    )
