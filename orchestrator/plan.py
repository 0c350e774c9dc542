"""What a sweep will do and about what it costs, said before anything starts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from orchestrator.capacity import TRIAL_BASE_BYTES, Resources, count, trials_that_fit
from orchestrator.data_source import data_size
from orchestrator.estimate import seconds_per_epoch
from orchestrator.parameters import CategoricalParameter, Parameter
from orchestrator.problems import shown
from orchestrator.search_space import drawn_settings
from orchestrator.spec_sections import TrialResources
from orchestrator.sweep_spec import SweepSpec

_PATIENCE = "training.patience_epochs"
# Points of the space over which the time of an epoch is averaged.
_ESTIMATED_TRIALS = 32


@dataclass(frozen=True)
class Plan:
    """A sweep's plan; times are estimates and None where no epoch was ever timed.

    Args:
        spec: The resolved spec.
        available: What there is to run on.
        trials: Number of trials.
        trials_at_once: How many run at the same time.
        epochs_least: Epochs of all trials together if each ends as early as it may.
        epochs_most: The same if none ends early.
        seconds_per_epoch: Time of one epoch of one trial, evaluation included.
        warnings: What is allowed but probably not meant.
    """

    spec: SweepSpec
    available: Resources
    trials: int
    trials_at_once: int
    epochs_least: int
    epochs_most: int
    seconds_per_epoch: float | None
    warnings: tuple[str, ...]

    @property
    def seconds(self) -> tuple[float, float] | None:
        """Least and most wall time of the training itself, without start-up."""
        if self.seconds_per_epoch is None:
            return None
        waves = -(-self.trials // self.trials_at_once)
        least = max(self.epochs_least / self.trials_at_once, shortest_trial_epochs(self.spec))
        most = waves * self.spec.max_epochs
        return least * self.seconds_per_epoch, most * self.seconds_per_epoch

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        seconds = self.seconds
        return {
            "sweep": self.spec.name,
            "question": self.spec.question,
            "trials": self.trials,
            "trials_at_once": self.trials_at_once,
            "max_epochs": self.spec.max_epochs,
            "epochs": {"least": self.epochs_least, "most": self.epochs_most},
            "seconds_per_epoch": self.seconds_per_epoch,
            "seconds": {"least": seconds[0], "most": seconds[1]} if seconds else None,
            "available": asdict(self.available),
            "warnings": list(self.warnings),
            "spec": self.spec.model_dump(mode="json", by_alias=True),
        }

    def render(self) -> str:
        """The plan as lines to read."""
        lines = [f"sweep {self.spec.name}: {self.spec.question}"]
        for name, texts in self._parts().items():
            for number, text in enumerate(texts):
                lines.append(f"  {'' if number else name:<9}  {text}")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)

    def _parts(self) -> dict[str, list[str]]:
        spec, space = self.spec, self.spec.search.parameters
        base = f"preset {spec.preset}" if spec.preset else "published defaults"
        ranges = [f"{path}: {describe(one)}" for path, one in space.items()]
        fixed = [f"{path} = {shown(value)}" for path, value in spec.settings.items()]
        return {
            "data": [spec.data.store or "synthetic, made on this machine"],
            "settings": [base, *fixed],
            "objective": [f"{spec.objective.direction} {spec.objective.metric}"],
            "search": [f"{spec.search.sampler}, seed {spec.search.seed}, over", *ranges],
            "trials": [f"{self.trials}, {self.trials_at_once} at once ({self._machine()})"],
            "each": [_needs(spec.resources)],
            "epochs": [self._epochs()],
            "time": [self._time()],
        }

    def _machine(self) -> str:
        texts = [count(self.available.cpus, "CPU"), count(self.available.gpus, "GPU")]
        if self.available.memory_bytes is not None:
            texts.append(f"{self.available.memory_bytes / 2**30:.1f} GiB of memory")
        return ", ".join(texts)

    def _epochs(self) -> str:
        stopping = self.spec.early_stopping
        most = f"at most {stopping.max_epochs} a trial"
        if self.epochs_least == self.epochs_most:
            return f"{most}, {self.epochs_most} in all"
        span = f"{most}, {self.epochs_least} to {self.epochs_most} in all"
        if stopping.method == "none":
            return span
        return f"{span}; {stopping.method} from {stopping.first_rung}"

    def _time(self) -> str:
        if self.seconds is None:
            return "not known before an epoch was timed"
        least, most = (duration(one) for one in self.seconds)
        span = least if least == most else f"{least} to {most}"
        return f"roughly {span} at {self.seconds_per_epoch:.2g} s an epoch, and the start"


def build_plan(
    spec: SweepSpec, available: Resources, seconds_per_epoch: float | None = None
) -> Plan:
    """Plan a sweep for the resources that there are; starts nothing.

    Raises:
        SpecError: A trial can never fit; says what would.
    """
    fitting = trials_that_fit(spec.resources, available)
    at_once = min(fitting, spec.concurrency or fitting, spec.num_trials)
    return Plan(
        spec=spec,
        available=available,
        trials=spec.num_trials,
        trials_at_once=at_once,
        epochs_least=_epochs_least(spec),
        epochs_most=spec.num_trials * spec.max_epochs,
        seconds_per_epoch=seconds_per_epoch,
        warnings=(*spec.warnings, *_fit_warnings(spec, available, fitting)),
    )


def plan_here(spec: SweepSpec) -> Plan:
    """Plan for this machine, with the time estimated from the sizes of model and data.

    Raises:
        SpecError: A trial can never fit; says what would.
        StoreError: The store is missing or damaged.
    """
    size = data_size(spec.data)
    drawn = drawn_settings(spec, _ESTIMATED_TRIALS)
    seconds = fmean(seconds_per_epoch(settings, size, spec.speed) for settings in drawn)
    return build_plan(spec, Resources.here(), seconds)


def _fit_warnings(spec: SweepSpec, available: Resources, fitting: int) -> list[str]:
    texts = []
    if spec.concurrency is not None and spec.concurrency > fitting:
        texts.append(f"concurrency {spec.concurrency}: only {count(fitting, 'trial')} fit at once")
    unbounded = Resources(available.cpus, available.gpus)
    if fitting < trials_that_fit(spec.resources, unbounded):
        texts.append(
            f"memory lets only {count(fitting, 'trial')} run at once: each process takes "
            f"{TRIAL_BASE_BYTES / 2**20:.0f} MiB before it holds any data"
        )
    return texts


def shortest_trial_epochs(spec: SweepSpec) -> int:
    """Fewest epochs after which a trial can end: at a rung, out of patience or by the budget."""
    stopping = spec.early_stopping
    if stopping.method == "none":
        return _unpruned_epochs(spec)
    return min(_unpruned_epochs(spec), stopping.first_rung)


def _unpruned_epochs(spec: SweepSpec) -> int:
    # The first epoch can be the best; patience counts from there.
    patience: list[int] = [one + 1 for one in spec.setting_values(_PATIENCE) if one is not None]
    return min([spec.max_epochs, *patience])


def _epochs_least(spec: SweepSpec) -> int:
    # No pruner ends the best trial.
    return (spec.num_trials - 1) * shortest_trial_epochs(spec) + _unpruned_epochs(spec)


def describe(parameter: Parameter) -> str:
    """A parameter in a few words, e.g. `0.5 to 0.95 by 0.05`."""
    if isinstance(parameter, CategoricalParameter):
        return " | ".join("null" if one is None else str(one) for one in parameter.choices)
    span = f"{parameter.low:g} to {parameter.high:g}"
    if parameter.log:
        return f"{span}, logarithmic"
    return f"{span} by {parameter.step:g}" if parameter.step else span


def _needs(trial: TrialResources) -> str:
    return f"{count(trial.workers, 'worker')} with {count(trial.cpus, 'CPU')}" + (
        f" and {trial.gpus:g} GPU" if trial.gpus else ""
    )


# Largest unit first; a time is shown in the largest that it reaches.
_UNITS: Mapping[str, float] = {"h": 3600.0, "min": 60.0, "s": 1.0}


def duration(seconds: float) -> str:
    """A time in its natural unit, e.g. `1.5 h`, `12 min`, `40 s`."""
    unit = next((name for name, size in _UNITS.items() if seconds >= size), "s")
    value = seconds / _UNITS[unit]
    return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"
