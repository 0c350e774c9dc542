"""A sweep within its budget: what is spent, when no further trial begins, and resuming."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.errors import SpecError
from orchestrator.commands.status_text import render_status
from orchestrator.joint.budget import budget_of, is_spent
from orchestrator.joint.extension import extended
from orchestrator.joint.sweep import JointSweep
from orchestrator.spec.changes import extensions, spec_changes
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.prices import MachineKind, Prices
from orchestrator.spec.sections import Budget
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.joint_record import JointRecord
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reader import OVER_BUDGET, StudyReader
from orchestrator.study.samplers import build_sampler
from orchestrator.study.study import Drawing, SweepStudy, study_url
from orchestrator.study.trial import TrialState
from orchestrator.study.work_record import TrialStart
from orchestrator.sweep.budget import BudgetGate, spent
from orchestrator.sweep.context import SafeSink
from orchestrator.sweep.driver import SweepDriver
from orchestrator.sweep.extension import Extension, extended_spec
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.resume import ResumeRequest
from orchestrator.sweep.run import SweepResult
from orchestrator.sweep.status import read_status
from orchestrator.sweep.trial_queue import TrialQueue
from orchestrator.sweep.trial_teller import TrialTeller
from orchestrator.tracking.missing_events import Told
from prvr_model.reporting import EpochReport
from tests.orchestrator.helpers import FINGERPRINT, new_searcher, new_study, run_sweep, small_spec
from tests.orchestrator.spec.spec_texts import problem_of

STOPPING = small_spec().early_stopping


class Warned(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def run(home: Path, *overrides: str, function: str = "hourly", **options: Any) -> SweepResult:  # noqa: ANN401
    return run_sweep(
        small_spec(*overrides),
        Path("/store"),
        FINGERPRINT,
        home,
        executor="inline",
        function=f"tests.orchestrator.executors.fake_trials:{function}",
        **options,
    )


def driver_of(spec: SweepSpec, study: SweepStudy, progress: Warned) -> SweepDriver:
    searcher = new_searcher(study, spec)
    queue = TrialQueue(searcher, BudgetGate(spec, study, progress.warn), lambda: False)
    teller = TrialTeller(SafeSink(None, progress.warn), progress, {}, Told())
    return SweepDriver(spec.objective.metric, study, searcher, queue, teller)


def num_complete(result: SweepResult) -> int:
    return result.counts[TrialState.COMPLETE]


def test_hours_of_gpus_are_those_of_all_trials(tmp_path: Path) -> None:
    progress = Warned()
    result = run(tmp_path, "resources.gpus=1", "budget.gpu_hours=10", progress=progress)
    # Three epochs of an hour each; a fourth trial would bring nine hours to twelve.
    assert num_complete(result) == 3
    assert not result.interrupted
    (line,) = progress.lines
    assert line == (
        "budget: 9 of 10 GPU-hours are spent, and another trial would bring them to 12; no "
        "further trial begins"
    )
    text = render_status(read_status(tmp_path, "small"))
    assert "small: finished; 3 complete, 3 to come" in text
    assert "ended by its budget: 9 of 10 GPU-hours are spent" in text


def test_half_a_gpu_costs_half(tmp_path: Path) -> None:
    assert num_complete(run(tmp_path, "resources.gpus=0.5", "budget.gpu_hours=7.6")) == 5


def test_hours_in_which_trials_run_together_count_once(tmp_path: Path) -> None:
    # By their timestamps all begin at the same moment.
    run(tmp_path, "search.trials=2")
    study = StudyReader.open(study_url(tmp_path), "small")
    assert spent(small_spec(), study).wall_hours == pytest.approx(3, rel=1e-2)
    result = run(tmp_path / "other", "budget.wall_hours=5")
    assert num_complete(result) == 1


def test_a_sweep_continues_with_a_larger_budget(tmp_path: Path) -> None:
    assert num_complete(run(tmp_path, "budget.trials=2")) == 2
    result = run(tmp_path, "budget.trials=5", told=Told())
    assert num_complete(result) == 5
    assert num_complete(run(tmp_path, "budget.trials=null", told=Told())) == 6
    assert "budget" not in render_status(read_status(tmp_path, "small"))


def test_no_round_begins_beyond_the_budget(tmp_path: Path) -> None:
    result = run(tmp_path, "budget.trials=7", "confirm={top: 2, seeds: 2}")
    assert num_complete(result) == 7


def test_a_clock_that_goes_back_breaks_nothing(tmp_path: Path) -> None:
    assert num_complete(run(tmp_path, "budget.wall_hours=5", function="backwards")) == 6


def test_gpu_hours_need_gpus() -> None:
    assert "needs resources.gpus above 0" in problem_of("budget.gpu_hours=3")


def test_another_budget_is_an_extension() -> None:
    there = small_spec("budget.gpu_hours=4", "resources.gpus=1").dump_yaml()
    changes = spec_changes(there, small_spec("budget.gpu_hours=8", "resources.gpus=1"))
    assert extensions(changes) == "--budget gpu_hours=8.0"


def test_a_night_between_two_epochs_counts_as_one_epoch(tmp_path: Path) -> None:
    run(tmp_path, "search.trials=2", "early_stopping.max_epochs=2")
    study = SweepStudy.reopen(
        study_url(tmp_path), "small", build_sampler(small_spec()), build_pruner(STOPPING)
    )
    before = spent(small_spec(), study)
    url = study_url(tmp_path)
    last = study.rows(1)[-1].timestamp_ms
    study.extend(url, {}, 2, 3)
    study = SweepStudy.reopen(url, "small", build_sampler(small_spec()), build_pruner(STOPPING))
    study.take_up(1, Drawing({}))
    study.record_epoch(1, 3, 1.0, last + 24 * 3_600_000, is_judged=False)
    after = spent(small_spec(), study)
    assert before.epoch_s == pytest.approx(3600, rel=1e-3)
    assert after.epoch_s == pytest.approx(3600, rel=1e-3)
    assert after.wall_hours == pytest.approx(before.wall_hours + 1, rel=1e-2)


def test_the_rest_of_a_trial_that_ends_early_is_granted_to_another(tmp_path: Path) -> None:
    spec = small_spec("resources.gpus=1", "budget.gpu_hours=7", "early_stopping.max_epochs=3")
    study, progress = new_study(tmp_path, spec), Warned()
    driver = driver_of(spec, study, progress)
    first, second = driver.next_trial(), driver.next_trial()
    assert first is not None
    assert second is not None
    hour = 3_600_000
    begun = study.summary(0).started_ms or 0
    for trial in (first, second):
        report = EpochReport(1, {"val/SumR": 1.0}, begun + hour)
        driver.on_report(trial.number, report)
    # Two hours are spent and four to come: a third trial of three hours would be too much.
    assert driver.next_trial() is None
    assert progress.lines == []
    # The first ends early and leaves its two hours: a third trial just fits.
    driver.on_end(first.number)
    assert study.attributes.get(OVER_BUDGET) is None
    third = driver.next_trial()
    assert third is not None
    driver.on_end(second.number)
    assert driver.next_trial() is None


def test_the_last_running_trial_leaves_its_rest_too(tmp_path: Path) -> None:
    spec = small_spec("resources.gpus=1", "budget.gpu_hours=5", "early_stopping.max_epochs=3")
    study, progress = new_study(tmp_path, spec), Warned()
    driver = driver_of(spec, study, progress)
    first = driver.next_trial()
    assert first is not None
    begun = study.summary(0).started_ms or 0
    driver.on_report(0, EpochReport(1, {"val/SumR": 1.0}, begun + 3_600_000))
    assert driver.next_trial() is None
    driver.on_end(0)
    assert driver.next_trial() is not None
    assert progress.lines == []


CPU_PRICES = "prices={currency: EUR, cpu_hour: 2}"


def test_money_is_spent_by_the_cpus_of_all_workers(tmp_path: Path) -> None:
    progress = Warned()
    result = run(tmp_path, CPU_PRICES, "resources.cpus=2", "budget.money=40", progress=progress)
    # Three epochs of 4 EUR each; a fourth trial would bring 36 EUR to 48.
    assert num_complete(result) == 3
    assert progress.lines == [
        "budget: 36.00 of 40 EUR are spent, and another trial would bring them to 48.00; no "
        "further trial begins"
    ]
    assert result.cost is not None
    assert result.cost.total == pytest.approx(36, rel=1e-3)
    status = read_status(tmp_path, "small")
    assert "\ncost: 36.00 EUR\nended by its budget: 36.00 of 40 EUR" in render_status(status)
    assert status.to_dict()["money"]["total"] == result.cost.total


def test_a_failed_trial_spends_too(tmp_path: Path) -> None:
    result = run(tmp_path, CPU_PRICES, "budget.money=13", function="failing_hourly")
    # A trial fails after an epoch of 2 EUR, the others take 6.
    counts = {state: number for state, number in result.counts.items() if number}
    assert counts == {TrialState.COMPLETE: 1, TrialState.FAILED: 1}
    assert result.cost is not None
    assert result.cost.failed == pytest.approx(2, rel=1e-2)


def test_what_has_no_price_counts_at_the_highest(tmp_path: Path) -> None:
    spec = small_spec("prices={currency: EUR, cpu_hour: {other: 1, dear: 3}}", "budget.money=14")
    study, progress = new_study(tmp_path, spec), Warned()
    driver = driver_of(spec, study, progress)
    trial = driver.next_trial()
    assert trial is not None
    begun = study.summary(0).started_ms or 0
    driver.on_start(0, TrialStart(begun, (MachineKind(None, "othe"),)))
    driver.on_report(0, EpochReport(1, {"val/SumR": 1.0}, begun + 3_600_000))
    assert spent(spec, study).money == pytest.approx(3)
    assert driver.next_trial() is None
    driver.next_trial()
    assert progress.lines == [
        "budget: no cpu_hour price for othe; did you mean other?; what runs there counts at the "
        "highest price"
    ]


def test_a_resumed_sweep_keeps_its_prices_unless_others_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prices.yaml").write_text("{currency: CHF, cpu_hour: 9}")
    monkeypatch.setenv("PRVR_PRICES", str(tmp_path / "prices.yaml"))

    def prices_of(spec: SweepSpec, extension: Extension) -> object:
        larger = extended_spec(spec, extension, {"spec_yaml": spec.dump_yaml()})
        return larger.prices and larger.prices.model_dump(exclude_none=True)

    others = {"currency": "CHF", "cpu_hour": 9.0}
    spec = small_spec(CPU_PRICES)
    assert prices_of(spec, Extension(budget=("money=5",))) == {"currency": "EUR", "cpu_hour": 2.0}
    assert prices_of(small_spec(), Extension(budget=("money=5",))) == others
    request = ResumeRequest("small", tmp_path, prices=tmp_path / "prices.yaml")
    assert prices_of(spec, request.extension) == others
    monkeypatch.delenv("PRVR_PRICES")
    with pytest.raises(SpecError, match="needs prices"):
        prices_of(small_spec(), Extension(budget=("money=5",)))


def test_prices_are_no_part_of_a_trials_key(tmp_path: Path) -> None:
    keys = []
    for prices in ((), (CPU_PRICES,)):
        home = tmp_path / str(len(prices))
        run(home, "search.trials=2", *prices)
        study = StudyReader.open(study_url(home), "small")
        keys.append([trial.key for trial in study.summaries()])
    assert keys[0] == keys[1]


def test_what_one_part_of_a_joint_sweep_leaves_is_the_next_ones(tmp_path: Path) -> None:
    overrides = (CPU_PRICES, "budget.money=20", "search.trials=2", "confirm={top: 1, seeds: 1}")
    parts = {data: small_spec(*overrides, f"name=both-{data}") for data in ("first", "second")}
    run_sweep(parts["first"], Path("/store"), FINGERPRINT, tmp_path, executor="inline",
              function="tests.orchestrator.executors.fake_trials:hourly")  # fmt: skip
    spec = JointSpec("both", parts)
    joint = JointSweep(tmp_path, spec, JointRecord("", {"first": "", "second": ""}, {}))
    left = budget_of(joint, "second")
    assert left is not None
    assert left.money == pytest.approx(20 - 18, rel=1e-3)
    assert not is_spent(joint, "second")
    poorer = replace(spec, parts={
        data: part.model_copy(update={"budget": Budget(money=17)}) for data, part in parts.items()
    })  # fmt: skip
    assert is_spent(replace(joint, spec=poorer), "second")


def test_a_joint_sweep_gets_another_budget_and_other_prices(tmp_path: Path) -> None:
    overrides = (CPU_PRICES, "budget.money=20", "confirm={top: 1, seeds: 1}")
    parts = {
        data: small_spec(*overrides, f"name=both-{data}", f"data={{synthetic: {{seed: {seed}}}}}")
        for data, seed in (("first", 1), ("second", 2))
    }
    spec = JointSpec("both", parts)
    names = {data: part.name for data, part in parts.items()}
    joint = JointSweep(tmp_path, spec, JointRecord(spec.dump_yaml(), names, {}))
    (tmp_path / "prices.yaml").write_text("{currency: CHF, cpu_hour: 9}")
    asked = ResumeRequest("both", tmp_path, budget=("money=30",), prices=tmp_path / "prices.yaml")
    for part in extended(joint, asked).spec.parts.values():
        assert part.prices == Prices(currency="CHF", cpu_hour=9.0)
        assert part.budget is not None
        assert part.budget.money == 30
