"""Makes a version of a trial of a sweep that has ended, e.g. of another one of its front."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.base.errors import RegistryError, TrackingOutageError
from orchestrator.spec.data import open_data
from orchestrator.study.reader import StudyReader
from orchestrator.study.test_scores import Scores, kept_scores, scored
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.context import SweepContext, TrialData
from orchestrator.sweep.registration import register_by_hand
from orchestrator.sweep.sync import DEFAULT_LIMIT_S, held_sweep
from orchestrator.tracking.model_version import RegisteredVersion
from orchestrator.tracking.sender import mlflow_sender, stop_limit_s
from orchestrator.tracking.store import TrackingStore
from prvr_model.errors import PrvrError


@dataclass(frozen=True)
class RegisteredTrial:
    """A trial that became a version.

    Args:
        version: The version.
        store: The registry.
        over_limit: Which limits of the sweep the trial exceeds, in words; None if it exceeds none.
    """

    version: RegisteredVersion
    store: TrackingStore
    over_limit: str | None


def register_trial(
    name: str, home: Path, tracking_uri: str | None, say: Callable[[str], None]
) -> RegisteredTrial:
    """Register a complete trial of a sweep that no driver runs; a version that it has is kept.

    It is scored on test, as every registered trial is, where its data is at hand.

    Args:
        name: `SWEEP/NUMBER`.
        home: Home of the sweep.
        tracking_uri: Where MLflow is; None: as at the sweep's launch.
        say: Takes lines for the user.

    Raises:
        RegistryError: There is no such trial, or it is not complete.
        SweepNotFoundError: There is no such sweep in the home.
        HomeLockedError: A driver runs a sweep in the home.
        TrackingOutageError: MLflow cannot be reached.
        CheckpointError: The trial's checkpoint is gone.
    """
    sweep, _, number = name.rpartition("/")
    with held_sweep(sweep, home, tracking_uri, say) as (context, outbox):
        study = StudyReader.open(context.url, sweep)
        trial = _complete_trial(study, number)
        context, scores = _scored(context, study, trial, say)
        store = context.locations.tracking
        sender = mlflow_sender(outbox, store, context.data.name, say)
        sender.start()
        try:
            if not sender.flush(DEFAULT_LIMIT_S):
                raise TrackingOutageError(f"MLflow lacks the runs of {sweep}: {sender.problem}")
            version = register_by_hand(context, outbox, trial, scores)
            sender.flush(DEFAULT_LIMIT_S)
        finally:
            sender.stop(stop_limit_s(store))
        return RegisteredTrial(version, store, study.goals.over_limit(trial.costs))


def _complete_trial(study: StudyReader, number: str) -> TrialSummary:
    trials = {str(trial.number): trial for trial in study.summaries()}
    found = trials.get(number)
    if found is not None and found.state is TrialState.COMPLETE:
        return found
    complete = [name for name, trial in trials.items() if trial.state is TrialState.COMPLETE]
    what = f"is {found.state}" if found else "does not exist"
    if found is not None and found.over_limit is not None:
        what = f"was not trained, since {found.over_limit}"
    raise RegistryError(
        f"trial {number!r} of sweep {study.name!r} {what}; allowed: a complete one: "
        f"{', '.join(complete) or 'there is none'}"
    )


def _scored(
    context: SweepContext, study: StudyReader, trial: TrialSummary, say: Callable[[str], None]
) -> tuple[SweepContext, Scores]:
    """The sweep with its data, and the scores on test, this trial's among them if it can be."""
    spec, fingerprint = context.spec, context.data.fingerprint
    try:
        store = open_data(spec.data, context.home, say, fingerprint, generates=False)
    except PrvrError as error:
        say(f"the data cannot be opened, so the trial is not scored on test: {error}")
        return context, kept_scores(study)
    if store.manifest.fingerprint != fingerprint:
        say(f"{store.path} is no longer the sweep's data, so the trial is not scored on test")
        return context, kept_scores(study)
    scores, problem = scored([trial], spec, store, context.home)
    if problem is not None:
        say(problem)
    return replace(context, data=TrialData.of(spec, store)), scores
