"""A duplicate of a running trial waits for it, and for no other; other trials continue."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from orchestrator.executors.executor import TrialSource
from orchestrator.executors.interruption import Interruption
from orchestrator.study.reader import StudyReader
from orchestrator.study.searcher import Searcher
from orchestrator.study.study import study_url
from orchestrator.study.trial import FailureCause, TrialRequest, TrialState
from orchestrator.sweep.budget import BudgetGate
from orchestrator.sweep.trial_queue import TrialQueue
from prvr_model.settings import build_settings
from tests.orchestrator.executors.whole_trials import trained, training
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec

TWO_POINTS = (
    "search={sampler: random, seed: 4, trials: 8, parameters: {losses.cross_branch: "
    "{type: categorical, choices: [fixed, adaptive]}}}"
)


@dataclass
class ManyAtOnce:
    """Begins every trial that it gets, then ends the oldest, and asks again after each end.

    Args:
        failing: How many trials fail, the first to end.
    """

    failing: int = 0
    at_once: list[int] = field(default_factory=list)

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        live: list[TrialRequest] = []
        while True:
            while (found := source.next_trial()) is not None:
                live.append(found)
            if not live:
                return
            self.at_once.append(len(live))
            self._end(live.pop(0), source)

    def _end(self, request: TrialRequest, source: TrialSource) -> None:
        if self.failing:
            self.failing -= 1
            source.on_failure(request.number, FailureCause("Error", "no", ""))
            return
        training(request, lambda row: source.on_report(request.number, row))
        source.on_end(request.number)


def run(home: Path, executor: ManyAtOnce, *overrides: str) -> StudyReader:
    spec = small_spec(TWO_POINTS, *overrides)
    run_sweep(spec, Path("/store"), FINGERPRINT, home, executor=executor)
    return StudyReader.open(study_url(home), "small")


def test_both_points_run_at_once_and_all_others_wait_for_them(tmp_path: Path) -> None:
    executor = ManyAtOnce()
    study = run(tmp_path, executor)
    # Of eight trials these four were drawn until both points were known.
    assert study.counts()[TrialState.COMPLETE] == 4
    assert study.attributes["num_trials"] == 4
    assert len(trained(tmp_path)) == 2
    assert executor.at_once == [2, 1]


def test_trials_that_waited_for_a_failure_run_one_after_the_other(tmp_path: Path) -> None:
    executor = ManyAtOnce(failing=3)
    study = run(tmp_path, executor)
    assert study.counts()[TrialState.FAILED] == 3
    assert study.counts()[TrialState.COMPLETE] == 3
    assert len(trained(tmp_path)) == 2
    assert max(executor.at_once) == 2


def test_without_reuse_no_trial_waits(tmp_path: Path) -> None:
    executor = ManyAtOnce()
    run(tmp_path, executor, "reuse=false")
    assert executor.at_once[0] == 8


def request(number: int, key: str) -> TrialRequest:
    spec = small_spec()
    settings = build_settings("tvr", {})
    return TrialRequest(
        "small", number, key, {}, settings, spec.speed, "/store", FINGERPRINT, f"/trials/{number}"
    )


@dataclass
class Drawn:
    """A searcher that hands out trials of these keys."""

    keys: list[str]
    has_unfinished = False
    number: int = -1

    def next(self) -> TrialRequest | None:
        self.number += 1
        return request(self.number, self.keys[self.number]) if self.keys else None


class Unlimited:
    is_spent = False

    def refuses(self, *, is_idle: bool) -> bool:
        return False


def test_at_most_64_trials_wait_and_the_first_free_one_comes_next() -> None:
    searcher = Drawn(["a", "b"] + ["a"] * 98)
    queue = TrialQueue(cast(Searcher, searcher), cast(BudgetGate, Unlimited()), lambda: False)
    held = 0
    while (trial := queue.next({"a", "b"})) is not None:
        queue.hold(cast(TrialRequest, trial))
        held += 1
    assert held == 64
    free = queue.next({"a"})
    assert free is not None
    assert free.number == 1
    searcher.keys = []
    assert queue.next({"a"}) is None
    first = queue.next(set())
    assert first is not None
    assert first.number == 0
