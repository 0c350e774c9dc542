"""A sweep as its study shows it, while it runs or afterwards; nothing is started or written.

Of an ablation it shows how far each row is, and its mean so far.
"""

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, TypeAlias

import psutil

from orchestrator.study.confirmation import Confirmed, confirmed_trials, crowned
from orchestrator.study.failures import FailureGroup, grouped_failures
from orchestrator.study.front import Front
from orchestrator.study.goals import num_replaced
from orchestrator.study.money import Cost, sweep_cost
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.reader import NUM_TRIALS, OVER_BUDGET, Direction, StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.tracking.run_filters import variant_filters

SweepState: TypeAlias = Literal["running", "finished", "interrupted", "lost"]
"""`lost`: it says running, but its driver is gone from this machine."""

# Two clocks of one machine tell a process's start this far apart.
_START_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class RowStatus:
    """A row of an ablation's table.

    Args:
        name: Its name.
        planned: Runs that it is to have so far; a race may give it more.
        complete: Runs that are complete.
        failed: Runs that failed.
        running: Runs that were begun and have not ended.
        mean: Mean value of the complete runs; None: there is none.
        standard_deviation: Between complete runs; None for fewer than two.
    """

    name: str
    planned: int
    complete: int
    failed: int
    running: int
    mean: float | None
    standard_deviation: float | None


@dataclass(frozen=True)
class SweepStatus:
    """What is known about a sweep.

    `num_trials` are those that were asked for so far; `best` is the complete trial that would win
    now and `best_so_far` the best of all, those included that still run or were pruned; one that
    exceeds a limit only where no other has a value. `rows` are those of an ablation, `confirmed`
    the configurations that were run again, the crowned first. `needs_tracking_uri`: MLflow's
    address has a password, which was not kept. `cost` is that of all trials so far, None without
    prices; `front` what came of several objectives and limits, None without any.
    """

    sweep: str
    home: Path
    question: str
    study: str
    state: SweepState
    started_ms: int | None
    ended_ms: int | None
    num_trials: int
    counts: Mapping[TrialState, int]
    metric: str
    best: TrialSummary | None
    best_so_far: TrialSummary | None
    failures: tuple[FailureGroup, ...]
    trials: tuple[TrialSummary, ...]
    rows: tuple[RowStatus, ...]
    confirmed: tuple[Confirmed, ...]
    direction: Direction
    protocol: str
    over_budget: str | None
    needs_tracking_uri: bool = False
    cost: Cost | None = None
    front: Front | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON, causes by group only."""
        fields = asdict(self)
        fields["home"] = str(self.home)
        del fields["cost"]
        if self.cost is not None:
            fields["money"] = self.cost.to_dict()
        fields["counts"] = {str(state): count for state, count in self.counts.items()}
        for trial in fields["trials"]:
            del trial["cause"]
        fields["confirmed"] = [_confirmed_fields(confirmed) for confirmed in self.confirmed]
        fields["front"] = self.front.to_dict() if self.front else None
        fields["filters"] = variant_filters(self.sweep, [row.name for row in self.rows])
        return fields


def read_status(home: Path, sweep: str, url: str | None = None) -> SweepStatus:
    """Read a sweep's study, also while the sweep runs.

    Args:
        home: Home folder.
        sweep: Name of the sweep.
        url: Storage of the study; None: the home's.

    Raises:
        SweepNotFoundError: There is no such sweep.
        SpecError: The file that `PRVR_PRICES` names is no list of prices.
    """
    study = StudyReader.open(url or study_url(home), sweep)
    # The state first: trials read after it can only be further than it says.
    attributes = study.attributes
    trials = study.summaries()
    counts = Counter(trial.state for trial in trials)
    return SweepStatus(
        sweep=sweep,
        home=home,
        question=attributes.get("question", ""),
        study=study.url,
        state=_state(attributes),
        started_ms=attributes.get("started_ms"),
        ended_ms=attributes.get("ended_ms"),
        num_trials=num_asked_for(attributes, trials),
        counts={state: counts[state] for state in TrialState},
        metric=attributes.get("metric", "objective"),
        best=next(iter(crowned(study, 1)), None),
        best_so_far=_best(
            study, [trial for trial in trials if trial.state is not TrialState.FAILED]
        ),
        failures=grouped_failures(trials),
        trials=trials,
        rows=row_statuses(trials, TrialPlan.of(attributes).runs()),
        confirmed=confirmed_trials(study),
        direction=study.direction,
        protocol=attributes.get("protocol", "validation"),
        over_budget=attributes.get(OVER_BUDGET),
        needs_tracking_uri=bool(attributes.get("places", {}).get("tracking_has_password")),
        cost=sweep_cost(study),
        front=Front.of(study),
    )


def this_driver() -> dict[str, Any]:
    """How others find out whether this process still runs."""
    me = psutil.Process()
    return {
        "host": socket.gethostname(),
        "pid": me.pid,
        # Both: an older version, and a study of one, know the time of day alone.
        "started_s": me.create_time(),
        "since_boot_s": _since_boot_s(me),
    }


def num_asked_for(attributes: Mapping[str, Any], trials: Sequence[TrialSummary]) -> int:
    """Trials that are to run as far as it is known; rounds to come are not.

    Args:
        attributes: Those of the sweep's study.
        trials: All of its trials.
    """
    if attributes.get("state") == "finished" and attributes.get(OVER_BUDGET) is None:
        return len(trials)
    plan = TrialPlan.of(attributes)
    wanted: int = attributes.get(NUM_TRIALS, len(trials))
    if plan.runs():
        return max(wanted, len(plan.trials))
    is_grid = attributes.get("sampler", {}).get("kind") == "grid"
    return wanted + len(plan.trials) + (0 if is_grid else num_replaced(trials, wanted))


def _confirmed_fields(confirmed: Confirmed) -> dict[str, Any]:
    return {
        "trial": confirmed.searched.number,
        "searched": confirmed.searched.value,
        "mean": confirmed.mean,
        "standard_deviation": confirmed.standard_deviation,
        "fresh": list(confirmed.values),
    }


def _state(attributes: Mapping[str, Any]) -> SweepState:
    stored = attributes.get("state", "running")
    if stored in ("finished", "interrupted"):
        return "finished" if stored == "finished" else "interrupted"
    driver = attributes.get("driver")
    if driver is None or driver["host"] != socket.gethostname():
        return "running"
    return "running" if _is_alive(driver) else "lost"


def _is_alive(driver: Mapping[str, Any]) -> bool:
    try:
        process = psutil.Process(driver["pid"])
        now_s, then_s = process.create_time(), driver["started_s"]
        if "since_boot_s" in driver:
            now_s, then_s = _since_boot_s(process), driver["since_boot_s"]
        return abs(now_s - then_s) < _START_TOLERANCE_S and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _since_boot_s(process: psutil.Process) -> float:
    """When a process started; the time of day of its start changes when the clock is set."""
    return float(process.create_time() - psutil.boot_time())


def _best(study: StudyReader, trials: Sequence[TrialSummary]) -> TrialSummary | None:
    best: TrialSummary | None = None
    valued = [trial for trial in trials if trial.value is not None]
    within = [trial for trial in valued if not study.goals.over_limit(trial.costs)]
    for trial in within or valued:
        if trial.value is not None and study.is_better(trial.value, best.value if best else None):
            best = trial
    return best


def row_statuses(
    trials: Iterable[TrialSummary], planned: Mapping[str, int]
) -> tuple[RowStatus, ...]:
    """Rows in the order in which they were planned; none in a search.

    Args:
        trials: The sweep's trials.
        planned: Planned runs of each row.
    """
    every = list(trials)
    return tuple(
        _row(name, count, [trial for trial in every if trial.variant == name])
        for name, count in planned.items()
    )


def _row(name: str, planned: int, trials: Sequence[TrialSummary]) -> RowStatus:
    states = [trial.state for trial in trials]
    values = [
        trial.value
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.value is not None
    ]
    return RowStatus(
        name=name,
        planned=planned,
        complete=len(values),
        failed=states.count(TrialState.FAILED),
        running=states.count(TrialState.RUNNING),
        mean=fmean(values) if values else None,
        standard_deviation=stdev(values) if len(values) > 1 else None,
    )
