"""What a sweep has spent, and whether another trial can finish within its budget.

Everything is computed from the epochs in the study, not from a clock of the driver: the epochs of
all drivers count, and the time between a driver's death and a resume costs nothing. An epoch that
seems far longer than the others contained such a pause and counts like a typical one. An epoch that
seems to end before it began, since a clock was set back, counts as no time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from orchestrator.spec.sections import Budget
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.epoch_log import EpochRow
from orchestrator.study.reader import OVER_BUDGET, StudyReader
from orchestrator.study.study import SweepStudy
from orchestrator.study.trial import TrialState, TrialSummary

# Epochs of a sweep differ because it searches sizes; by more than this factor only if they contain
# something other than training.
_LONGEST_IN_MEDIANS = 10
_S_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """What the trials of a sweep took so far, and what the running ones will still take.

    Args:
        trials: Number of trials that began, without those that copied their result.
        gpu_hours: GPU-hours of training.
        wall_hours: Hours in which at least one trial ran.
        epoch_s: Mean seconds of an epoch; None before the first.
        to_come_gpu_hours: GPU-hours that unfinished trials still take at most.
    """

    trials: int
    gpu_hours: float
    wall_hours: float
    epoch_s: float | None
    to_come_gpu_hours: float


class BudgetGate:
    """Decides whether another trial may begin.

    Args:
        spec: The sweep.
        study: Its study, open for writing.
        warn: Takes a line for the user.
    """

    def __init__(self, spec: SweepSpec, study: SweepStudy, warn: Callable[[str], None]) -> None:
        self._spec = spec
        self._study = study
        self._warn = warn
        self.is_spent = False

    def refuses(self, *, is_idle: bool) -> bool:
        """Whether no further trial can finish within the budget.

        The answer is final, recorded and shown once no trial runs: a running trial that ends
        early leaves the rest of its share to others.

        Args:
            is_idle: Whether no trial runs.
        """
        if self.is_spent:
            return True
        why = refusal(self._spec, self._study)
        if why is not None and is_idle:
            self.is_spent = True
            self._warn(f"budget: {why}; no further trial begins")
            self._study.set_attribute(OVER_BUDGET, why)
        return why is not None


def spent(spec: SweepSpec, study: StudyReader) -> Spent:
    """What a sweep has spent."""
    trials = [trial for trial in study.summaries() if not trial.is_taken]
    spans = _spans(study, trials)
    seconds = [end - begin for begin, end in spans]
    gpus = spec.resources.gpus * spec.resources.workers / _S_PER_HOUR
    epoch_s = fmean(seconds) if seconds else None
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    left = sum(spec.max_epochs - trial.epochs for trial in running)
    return Spent(
        len(trials),
        gpus * sum(seconds),
        _union(spans) / _S_PER_HOUR,
        epoch_s,
        gpus * left * (epoch_s or 0.0),
    )


def refusal(spec: SweepSpec, study: StudyReader) -> str | None:
    """Why no further trial can finish within the budget; None if one can, or without a budget."""
    if spec.budget is None:
        return None
    found = spent(spec, study)
    trial_s = spec.max_epochs * (found.epoch_s or 0.0)
    gpus = spec.resources.gpus * spec.resources.workers
    more_gpu_hours = found.to_come_gpu_hours + gpus * trial_s / _S_PER_HOUR
    return _exceeded(spec.budget, found, more_gpu_hours, trial_s / _S_PER_HOUR)


def _exceeded(budget: Budget, found: Spent, gpu_hours: float, wall_hours: float) -> str | None:
    if budget.trials is not None and found.trials >= budget.trials:
        return f"all of its {budget.trials} trials have begun"
    parts = (
        ("GPU-hours", budget.gpu_hours, found.gpu_hours, gpu_hours),
        ("hours", budget.wall_hours, found.wall_hours, wall_hours),
    )
    for name, limit, took, more in parts:
        if limit is not None and took + more > limit:
            return (
                f"{took:.2g} of {limit:g} {name} are spent, and another trial would bring them to "
                f"{took + more:.2g}"
            )
    return None


def _spans(study: StudyReader, trials: Iterable[TrialSummary]) -> list[tuple[float, float]]:
    """Begin and end of every recorded epoch in seconds, pauses cut out."""
    rows = study.all_rows()
    raw = [span for trial in trials for span in _epochs(trial, rows[trial.number])]
    typical = median([end - begin for begin, end in raw if end > begin] or [0.0])
    return [(end - _seconds(end - begin, typical), end) for begin, end in raw]


def _seconds(took: float, typical: float) -> float:
    """Seconds for which an epoch counts."""
    return max(0.0, took) if took <= _LONGEST_IN_MEDIANS * typical else typical


def _epochs(trial: TrialSummary, rows: Sequence[EpochRow]) -> list[tuple[float, float]]:
    ends = [row.timestamp_ms / 1000 for row in rows[trial.taken_epochs or 0 :]]
    begin = trial.started_ms / 1000 if trial.started_ms is not None else None
    times = ends if begin is None else [begin, *ends]
    return list(pairwise(times))


def _union(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds that at least one span covers."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
