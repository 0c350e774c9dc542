"""Scores a sweep's selected trials on test, once; the study keeps the scores."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from orchestrator.base.machine import available_cpus
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.study.moment_scores import MomentScores
from orchestrator.study.outcomes import mean_interval
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reader import TEST_SCORES, StudyReader
from orchestrator.study.samplers import build_sampler
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialSummary

if TYPE_CHECKING:
    from prvr_model.settings import SpeedSettings
    from prvr_model.store.reader import FeatureStore


@dataclass(frozen=True)
class TestScore:
    """A trial's metrics on test.

    Args:
        key: Content key of the trial.
        epoch: Epoch of the weights.
        metrics: Value by name.
        device: Device that computed them, e.g. `cpu` on a driver without GPU.
        moments: How windows meet the moments of test; None where none are known.
        intervals: Of recalls, and of nDCG and mAP, by name, for this model on new videos; of none
            for a single video.
    """

    key: str
    epoch: int
    metrics: Mapping[str, float]
    device: str
    moments: MomentScores | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def parse(cls, kept: Mapping[str, Any]) -> "TestScore":
        """From the JSON that the study keeps; earlier versions kept no moments and intervals."""
        moments = kept.get("moments")
        pairs = {name: (low, high) for name, (low, high) in kept.get("intervals", {}).items()}
        parsed = MomentScores.parse(moments) if moments else None
        return cls(**{**kept, "moments": parsed, "intervals": pairs})


NO_TEST_SPLIT = "the data has no test split"
SCORING_FAILED = "it could not be scored on test"

Scores: TypeAlias = Mapping[int, TestScore]
"""Scores by trial number."""


def why_unscored(spec: SweepSpec, store: "FeatureStore") -> str | None:
    """Why a sweep's trials are not scored on test; None if they are."""
    if spec.protocol == "paper":
        return "protocol paper leaves test untouched"
    return None if store.has_split("test") else NO_TEST_SPLIT


def scored(
    trials: Iterable[TrialSummary], spec: SweepSpec, store: "FeatureStore", home: Path
) -> tuple[Scores, str | None]:
    """Scores of trials on test; those that the study has are not computed again.

    Returns:
        The scores, empty if `why_unscored` gives a reason, and what failed, None if nothing did.
    """
    if why_unscored(spec, store) is not None:
        return {}, None
    url = study_url(home)
    there = kept_scores(StudyReader.open(url, spec.name))
    found, problems = {}, []
    for trial in trials:
        try:
            found[trial.number] = _kept(trial, there) or _score(trial, spec, store)
        except Exception as error:  # noqa: BLE001  (reported with the result; the model is kept)
            problems.append(f"trial {trial.number}: {type(error).__name__}: {error}")
    if any(there.get(number) != score for number, score in found.items()):
        study = SweepStudy.reopen(
            url, spec.name, build_sampler(spec), build_pruner(spec.early_stopping)
        )
        kept = {str(number): asdict(score) for number, score in {**there, **found}.items()}
        study.set_attribute(TEST_SCORES, kept)
    return found, f"not scored on test: {'; '.join(problems)}" if problems else None


def kept_scores(study: StudyReader) -> Scores:
    """Scores that the study has."""
    kept = study.attributes.get(TEST_SCORES, {})
    return {int(number): TestScore.parse(score) for number, score in kept.items()}


def _kept(trial: TrialSummary, there: Scores) -> TestScore | None:
    found = there.get(trial.number)
    is_its = found is not None and (found.key, found.epoch) == (trial.key, trial.best_epoch)
    return found if is_its else None


def _score(trial: TrialSummary, spec: SweepSpec, store: "FeatureStore") -> TestScore:
    from prvr_model.files.folder import Folder
    from prvr_model.network.model_file import load_best
    from prvr_model.retrieval.evaluation import evaluate_saved

    speed = speed_here(spec)
    found = evaluate_saved(load_best(Folder.open(trial.folder)), store, "test", speed)
    moments = MomentScores.of(found.moments) if found.moments else None
    videos = VideosOfQueries(np.asarray(store.split("test").caption_video))
    intervals = {
        name: (interval.low, interval.high)
        for name in found.metrics
        if (interval := mean_interval(found.kept, f"test/{name}", videos))
    }
    epoch, metrics = trial.best_epoch or 0, dict(found.metrics)
    return TestScore(trial.key, epoch, metrics, speed.device, moments, intervals)


def speed_here(spec: SweepSpec) -> "SpeedSettings":
    """The sweep's speed settings; on the CPU if the driver's machine, e.g. a head, has no GPU."""
    from prvr_model.training.devices import find_devices

    if not spec.speed.device.startswith("cuda") or find_devices().gpus:
        return spec.speed
    return spec.speed.model_copy(update={"device": "cpu", "threads": available_cpus()})
