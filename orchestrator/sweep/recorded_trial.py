"""What a sweep has recorded of one of its trials: metrics of each epoch, data, code and machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.errors import ReproductionError
from orchestrator.base.home import outbox_path
from orchestrator.base.installation import code_version, package_versions
from orchestrator.base.machine import hardware
from orchestrator.spec.loading import read_spec
from orchestrator.spec.search_space import resolve
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.content_key import key_in
from orchestrator.study.history import read_history
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialSummary
from orchestrator.tracking.outbox import read_events
from prvr_model.reporting import EpochReport
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import Settings

# What computes a trial's numbers; other packages carry them.
_NUMERIC_PACKAGES = ("torch", "numpy")
_VERSION_TAG = "version."
_MICRO_BATCH = "micro_batch_videos"


@dataclass(frozen=True)
class RecordedTrial:
    """A trial as it was run.

    Args:
        sweep: Name of its sweep.
        spec: The sweep as it is now, perhaps extended since.
        summary: The trial.
        settings: What it was trained with.
        rows: Its epochs; where the metrics of one are lost, the objective alone.
        results_version: Version of the numbers that its key was made with; None: no version makes
            this key of the settings, so their defaults have changed since.
        code: Version of the code that handed it out; None: it was not recorded.
        packages: Versions of packages then.
        hardware: The machine of the sweep's driver.
        address: The Ray cluster that the sweep ran on; None: none.
        data_fingerprint: Fingerprint of its data.
    """

    sweep: str
    spec: SweepSpec
    summary: TrialSummary
    settings: Settings
    rows: tuple[EpochReport, ...]
    results_version: int | None
    code: str | None
    packages: Mapping[str, str]
    hardware: Mapping[str, Any]
    address: str | None
    data_fingerprint: str

    @property
    def name(self) -> str:
        """As commands take it: `SWEEP/NUMBER`."""
        return f"{self.sweep}/{self.summary.number}"

    @property
    def micro_batch_sizes(self) -> tuple[int | None, ...]:
        """Sizes of its micro-batches in the order of its epochs, each once; None: no such."""
        found = (row.metrics.get(_MICRO_BATCH) for row in self.rows if len(row.metrics) > 1)
        return tuple(dict.fromkeys(None if size is None else int(size) for size in found))


def read_recorded(home: Path, sweep: str, number: int) -> RecordedTrial:
    """Read what is recorded of a trial; nothing is written.

    Args:
        home: Home of the sweep.
        sweep: Its name.
        number: The trial.

    Raises:
        SweepNotFoundError: There is no such sweep.
        ReproductionError: It has no such trial, or the trial was never trained.
        SettingsError: This version cannot build the settings.
    """
    study = StudyReader.open(study_url(home), sweep)
    kept = study.attributes
    trial = _summary(study, number)
    if "spec_yaml" not in kept or "data_fingerprint" not in kept:
        raise ReproductionError(f"sweep {sweep!r} in {study.url} was ended before it began")
    spec = read_spec(kept["spec_yaml"], (), f"spec of {sweep}", home)
    path = outbox_path(home, sweep)
    events = read_events(path, 0, path.stat().st_size, None).events if path.exists() else []
    events = [event for event in events if event.get("number") == number]
    # Of the last time that it was handed out: a sweep may be resumed by another version.
    started = [event.get("tags", {}) for event in events if event["kind"] == "trial_started"]
    tags = started[-1] if started else {}
    settings, version = recorded_settings(spec, trial, kept["data_fingerprint"])
    return RecordedTrial(
        sweep=sweep,
        spec=spec,
        summary=trial,
        settings=settings,
        rows=read_history(study, trial, events, home).rows,
        results_version=version,
        code=tags.get("code") or kept.get("code_version"),
        packages=_packages(tags) or kept.get("packages", {}),
        hardware=kept.get("hardware", {}),
        address=kept.get("places", {}).get("address"),
        data_fingerprint=kept["data_fingerprint"],
    )


def _summary(study: StudyReader, number: int) -> TrialSummary:
    trials = study.summaries()
    if not 0 <= number < len(trials):
        found = f"0 to {len(trials) - 1}" if trials else "none"
        raise ReproductionError(
            f"sweep {study.name!r} has no trial {number}; trials there: {found}"
        )
    trial = trials[number]
    if not trial.key:
        # The message of a combination that cannot be trained says why.
        why = f": {trial.cause.message}" if trial.cause else ""
        raise ReproductionError(f"trial {number} of {study.name!r} was never trained{why}")
    return trial


def _packages(tags: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix(_VERSION_TAG): str(version)
        for name, version in tags.items()
        if name.startswith(_VERSION_TAG)
    }


def recorded_settings(
    spec: SweepSpec, trial: TrialSummary, data_fingerprint: str
) -> tuple[Settings, int | None]:
    """The settings that a trial's key was made of, and the results version in it.

    A sweep may have got more epochs since, which not all of its trials were given: the key says
    with how many a trial was to run.

    Returns:
        The settings as the spec has them, with None, where nothing gives the key.
    """
    settings = resolve(spec, trial.parameters)
    horizon = settings.optimizer.schedule_epochs
    likely = [settings.training.epochs, trial.epochs, trial.continued_from_epochs]
    for epochs in dict.fromkeys(filter(None, [*likely, *range(1, horizon + 1)])):
        found = with_epochs(settings, epochs)
        if key_in(spec, found, data_fingerprint, trial.results_version) == trial.key:
            return found, trial.results_version
    return settings, None


def with_epochs(settings: Settings, epochs: int) -> Settings:
    """The settings with another number of epochs, at most the schedule's."""
    training = settings.training.model_copy(update={"epochs": epochs})
    return settings.model_copy(update={"training": training})


def rounding_reasons(recorded: RecordedTrial) -> tuple[str, ...]:
    """Why the numbers need not be equal in every bit; empty: they must be."""
    device = recorded.spec.speed.device.partition(":")[0]
    reasons = [
        *machine_differences(recorded.hardware, hardware(), uses_gpu=device == "cuda"),
        *package_differences(recorded.packages, package_versions(), _NUMERIC_PACKAGES),
        *([] if device == "cpu" else [f"{device} adds up in no fixed order"]),
    ]
    if len(recorded.micro_batch_sizes) > 1:
        reasons.append("it ran out of memory and continued with smaller micro-batches")
    if len(set(recorded.summary.workers)) > 1:
        reasons.append("its number of workers changed, and each draws its own dropout")
    if recorded.results_version is None:
        reasons.append("no known version of the settings gives its key: defaults have changed")
    elif recorded.results_version != RESULTS_VERSION:
        then = recorded.results_version
        reasons.append(f"numbers of version {RESULTS_VERSION}, then of version {then}")
    return tuple(reasons)


def machine_differences(
    then: Mapping[str, Any], now: Mapping[str, Any], *, uses_gpu: bool
) -> tuple[str, ...]:
    """In words, why a machine is of another kind than a recorded one; empty: it is of that kind.

    Args:
        then: `machine.hardware` as recorded.
        now: The same, of this machine.
        uses_gpu: Whether the trial is trained on a GPU.
    """
    if not then:
        return ("the machine was not recorded",)
    found = []
    if now.get("cpu") != then.get("cpu"):
        found.append(f"CPU {now.get('cpu')}, then {then.get('cpu')}")
    cards, cards_then = now.get("gpus", []), then.get("gpus", [])
    # More cards of one kind are still that kind.
    if uses_gpu and set(cards) != set(cards_then):
        shown, shown_then = (", ".join(names) or "none" for names in (cards, cards_then))
        found.append(f"GPUs {shown}, then {shown_then}")
    return tuple(found)


def package_differences(
    then: Mapping[str, str], now: Mapping[str, str], names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Packages of other versions than recorded, in words.

    Args:
        then: Version by package.
        now: The same, installed now.
        names: The packages that are looked at; None: all that were recorded.
    """
    return tuple(
        f"{name} {now.get(name, 'missing')}, then {then.get(name, 'not recorded')}"
        for name in (then if names is None else names)
        if then.get(name) != now.get(name)
    )


def changes_since(recorded: RecordedTrial) -> tuple[str, ...]:
    """What has changed since, whether it should matter or not."""
    code = code_version()
    changed = [] if code == recorded.code else [f"code {code}, then {recorded.code or 'unknown'}"]
    if any((version or "").endswith(".dirty") for version in (code, recorded.code)):
        changed.append("code of a checkout with changes that are in no commit (.dirty)")
    return (*changed, *package_differences(recorded.packages, package_versions()))
