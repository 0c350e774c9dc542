"""What a sweep has spent, and whether another trial can finish within its budget."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from orchestrator.base.text import amount, two_digits
from orchestrator.spec.sections import Budget
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.money import Cost, priced
from orchestrator.study.reader import OVER_BUDGET, StudyReader
from orchestrator.study.study import SweepStudy
from orchestrator.study.trial import TrialState
from orchestrator.study.work import Work, work_of

_S_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """What the trials of a sweep took so far, and what the running ones will still take.

    Args:
        trials: Number of trials that began, without those that copied their result.
        gpu_hours: GPU-hours of training.
        wall_hours: Hours in which at least one trial ran.
        money: Its cost, what has no price at the highest one; 0 without prices.
        lacks: Which prices are missing.
        epoch_s: Mean seconds of an epoch; None before the first.
        epoch_money: Mean cost of an epoch.
        epochs_to_come: Epochs that unfinished trials still take at most.
    """

    trials: int
    gpu_hours: float
    wall_hours: float
    money: float = 0.0
    lacks: tuple[str, ...] = ()
    epoch_s: float | None = None
    epoch_money: float = 0.0
    epochs_to_come: int = 0


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
        self._told: set[str] = set()

    def refuses(self, *, is_idle: bool) -> bool:
        """Whether no further trial can finish within the budget.

        The answer is final, recorded and shown once no trial runs: a running trial that ends
        early leaves the rest of its share to others.

        Args:
            is_idle: Whether no trial runs.
        """
        if self.is_spent or self._spec.budget is None:
            return self.is_spent
        found = spent(self._spec, self._study)
        self._tell_lacks(found)
        why = _refusal(self._spec, self._spec.budget, found)
        if why is not None and is_idle:
            self.is_spent = True
            self._warn(f"budget: {why}; no further trial begins")
            self._study.set_attribute(OVER_BUDGET, why)
        return why is not None

    def _tell_lacks(self, found: Spent) -> None:
        """Say once of each missing price how the budget counts what lacks it."""
        if self._spec.budget is None or self._spec.budget.money is None:
            return
        for lack in found.lacks:
            if lack not in self._told:
                self._warn(f"budget: {lack}; what runs there counts at the highest price")
                self._told.add(lack)


def spent(spec: SweepSpec, study: StudyReader) -> Spent:
    """What a sweep has spent."""
    trials = [trial for trial in study.summaries() if not trial.is_taken]
    work = work_of(study)
    epochs = [done for done in work if done.kind == "epoch"]
    gpus = spec.resources.gpus * spec.resources.workers / _S_PER_HOUR
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    cost, of_epochs = _cost(spec, work), _cost(spec, epochs)
    return Spent(
        trials=len(trials),
        gpu_hours=gpus * sum(done.seconds for done in work),
        wall_hours=_union_s(work) / _S_PER_HOUR,
        money=cost.most if cost else 0.0,
        lacks=tuple(cost.unpriced_hours) if cost else (),
        epoch_s=fmean(done.seconds for done in epochs) if epochs else None,
        epoch_money=of_epochs.most / len(epochs) if of_epochs and epochs else 0.0,
        epochs_to_come=sum(spec.max_epochs - trial.epochs for trial in running),
    )


def _cost(spec: SweepSpec, work: Iterable[Work]) -> Cost | None:
    if spec.prices is None:
        return None
    return priced(spec.prices, spec.resources, work, lambda _: False)


def _refusal(spec: SweepSpec, budget: Budget, found: Spent) -> str | None:
    """Why no further trial can finish within the budget; None if one can."""
    if budget.trials is not None and found.trials >= budget.trials:
        return f"all of its {budget.trials} trials have begun"
    trial_hours = spec.max_epochs * (found.epoch_s or 0.0) / _S_PER_HOUR
    more_epochs = found.epochs_to_come + spec.max_epochs
    gpus = spec.resources.gpus * spec.resources.workers
    more_gpu_hours = gpus * more_epochs * (found.epoch_s or 0.0) / _S_PER_HOUR
    more_money = more_epochs * found.epoch_money
    currency = spec.prices.currency if spec.prices else ""
    return (
        _exceeded("GPU-hours", budget.gpu_hours, found.gpu_hours, more_gpu_hours)
        or _exceeded("hours", budget.wall_hours, found.wall_hours, trial_hours)
        or _exceeded(currency, budget.money, found.money, more_money, amount)
    )


def _exceeded(
    unit: str,
    limit: float | None,
    took: float,
    more: float,
    show: Callable[[float], str] = two_digits,
) -> str | None:
    """What would exceed a limit; None if nothing does.

    Args:
        unit: Of what the limit is.
        limit: The limit; None: there is none.
        took: What is spent.
        more: What running trials and another one would add.
        show: How a number is written.
    """
    if limit is None or took + more <= limit:
        return None
    return (
        f"{show(took)} of {limit:g} {unit} are spent, and another trial would bring them to "
        f"{show(took + more)}"
    )


def _union_s(work: Iterable[Work]) -> float:
    """Seconds that at least one piece of work covers."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted((done.begin_s, done.end_s) for done in work):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
