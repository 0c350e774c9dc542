"""The time that trials took and its price, from studies whose clock is made up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.spec.prices import MachineKind
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.money import Cost, cost_by, sweep_cost, total_cost
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import FailureCause
from orchestrator.study.work import Work, work_of
from orchestrator.study.work_record import TrialStart
from tests.orchestrator.helpers import new_searcher, new_study, reopened_study, small_spec

HOUR_MS = 3_600_000
ON_DEMAND, SPOT = MachineKind("A10G", is_spot=False), MachineKind("A10G", is_spot=True)
PRICES = (
    "prices={currency: EUR, gpu_hour: {A10G: 10, H100: 100}, spot: {gpu_hour: {A10G: 1}}}",
    "resources.gpus=1",
    "search.trials=4",
)


class Clocked:
    """A study of trials whose times are hours after the first one began."""

    def __init__(self, home: Path, *overrides: str) -> None:
        self.spec: SweepSpec = small_spec(*(overrides or PRICES))
        self.study: SweepStudy = new_study(home, self.spec)
        self._searcher = new_searcher(self.study, self.spec)
        self._begun_ms = 0

    def begin(self) -> int:
        trial = self._searcher.next()
        assert trial is not None
        self._begun_ms = self._begun_ms or self.study.summary(0).started_ms or 0
        return trial.number

    def at(self, hours: float) -> int:
        return self._begun_ms + round(hours * HOUR_MS)

    def start(self, number: int, hours: float, *machines: MachineKind) -> None:
        self.study.note_start(number, TrialStart(self.at(hours), machines))

    def epoch(self, number: int, epoch: int, hours: float) -> None:
        self.study.record_epoch(number, epoch, 1.0, self.at(hours), is_judged=False)

    def lose(self, number: int, hours: float) -> None:
        self.study.note_loss(number, self.at(hours))

    def work(self) -> list[tuple[str, float]]:
        return [(done.kind, round(done.seconds / 3600, 3)) for done in work_of(self.study)]

    def cost(self) -> Cost:
        found = cost_by(self.spec, self.study)
        assert found is not None
        return found


@pytest.fixture
def clocked(tmp_path: Path) -> Clocked:
    return Clocked(tmp_path)


def test_waiting_for_a_slot_costs_nothing_and_what_is_lost_with_one_does(clocked: Clocked) -> None:
    number = clocked.begin()
    clocked.start(number, 2, SPOT)
    clocked.epoch(number, 1, 3)
    clocked.lose(number, 3.5)
    clocked.start(number, 6, ON_DEMAND)
    clocked.epoch(number, 2, 7)
    assert clocked.work() == [("epoch", 1), ("lost", 0.5), ("epoch", 1)]
    cost = clocked.cost()
    assert (cost.spot, cost.on_demand, cost.total) == (1.5, 10, 11.5)
    assert (cost.lost, cost.losses) == (0.5, 1)
    assert cost.text == (
        "11.50 EUR (10.00 on demand, 1.50 spot); 0.50 of it for 1 epoch that evictions or "
        "interruptions cut off"
    )


def test_what_a_trial_failed_in_counts_from_its_last_epoch(
    clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = clocked.begin()
    clocked.start(number, 0, ON_DEMAND)
    clocked.epoch(number, 1, -1)
    clocked.study.tell_failed(number, FailureCause("ValueError", "", ""))
    # The study stamps the end by the clock of now: an hour after the last epoch.
    (work,) = (done for done in work_of(clocked.study) if done.kind == "failed")
    assert work.seconds == pytest.approx(3600, abs=30)
    assert clocked.cost().failed == pytest.approx(10, rel=0.01)
    assert "10.0" in clocked.cost().text
    assert "of it by trials that failed" in clocked.cost().text


def test_a_trial_that_never_began_costs_nothing(clocked: Clocked) -> None:
    number = clocked.begin()
    clocked.study.tell_failed(number, FailureCause("NoSlotError", "", ""))
    assert clocked.work() == []


def test_what_a_killed_driver_lost_is_not_known_and_its_pause_costs_nothing(
    clocked: Clocked,
) -> None:
    number = clocked.begin()
    clocked.start(number, 0, ON_DEMAND)
    clocked.epoch(number, 1, 1)
    # Killed half an hour later; three hours later another driver goes on.
    clocked.start(number, 4, ON_DEMAND)
    clocked.epoch(number, 2, 5)
    assert clocked.work() == [("epoch", 1), ("epoch", 1)]


def test_epochs_that_are_trained_again_count_again(clocked: Clocked) -> None:
    number = clocked.begin()
    clocked.start(number, 0, SPOT)
    clocked.epoch(number, 1, 1)
    clocked.epoch(number, 2, 2)
    clocked.lose(number, 2.5)
    # The checkpoint was of the first epoch: the second is trained again, and known already.
    clocked.start(number, 3, SPOT)
    clocked.epoch(number, 2, 4)
    clocked.epoch(number, 3, 5)
    assert clocked.work() == [("epoch", 1), ("epoch", 1), ("lost", 0.5), ("epoch", 2)]


def test_every_worker_is_priced_by_its_own_machine(clocked: Clocked) -> None:
    number = clocked.begin()
    clocked.start(number, 0, SPOT, ON_DEMAND, SPOT)
    clocked.epoch(number, 1, 1)
    assert (clocked.cost().spot, clocked.cost().on_demand) == (2, 10)


def test_what_has_no_price_is_said_and_not_free(clocked: Clocked) -> None:
    number = clocked.begin()
    clocked.start(number, 0, MachineKind("T4", is_spot=True))
    clocked.epoch(number, 1, 2)
    cost = clocked.cost()
    assert cost.total == 0
    assert cost.most == 200
    assert cost.text == "0.00 EUR; 2 GPU-hours are not in it: no gpu_hour price for T4 (spot)"
    assert cost.to_dict()["unpriced_hours"] == {"no gpu_hour price for T4 (spot)": 2}


def test_trials_of_an_older_version_have_the_highest_price_and_it_is_said(
    tmp_path: Path, clocked: Clocked
) -> None:
    number = clocked.begin()
    clocked.epoch(number, 1, 1)
    cost = clocked.cost()
    assert (cost.on_demand, cost.assumed) == (100, 100)
    assert "100.00 of it at the highest price, as the machine is not known" in cost.text
    one = Clocked(tmp_path / "one", "prices={currency: EUR, cpu_hour: 2}", "resources.cpus=3")
    one.epoch(one.begin(), 1, 1)
    assert (one.cost().total, one.cost().assumed) == (6, 0)


def test_the_record_survives_a_reopening_and_is_one_short_attribute(
    tmp_path: Path, clocked: Clocked
) -> None:
    number = clocked.begin()
    clocked.start(number, 0, SPOT)
    clocked.epoch(number, 1, 1)
    again = reopened_study(tmp_path, clocked.spec)
    assert [done.workers for done in work_of(again)] == [((1, SPOT),)]
    (stored,) = again._study.trials[0].user_attrs["work"]
    assert stored == [0, clocked.at(0), [1, "A10G", None, True]]


def test_only_what_has_prices_costs_money(
    tmp_path: Path, clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Clocked(tmp_path / "plain", "search.trials=1")
    plain.epoch(plain.begin(), 1, 1)
    url = study_url(tmp_path / "plain")
    plain.study.set_attribute("spec_yaml", plain.spec.dump_yaml())
    opened: Callable[[], StudyReader] = lambda: StudyReader.open(url, "small")  # noqa: E731
    assert sweep_cost(opened()) is None
    (tmp_path / "prices.yaml").write_text("{currency: CHF, cpu_hour: 4}")
    monkeypatch.setenv("PRVR_PRICES", str(tmp_path / "prices.yaml"))
    found = sweep_cost(opened())
    assert found is not None
    assert (found.total, found.currency) == (4, "CHF")
    plain.study.set_attribute("spec_yaml", "of: another version\nprices: {}\n")
    assert sweep_cost(opened()) is None


def test_costs_of_parts_add_up_in_one_currency() -> None:
    one = Cost("EUR", 1, 2, 3, 4, 5, 6, {"a": 1.0}, 7)
    two = total_cost([one, None, Cost("EUR", 1, unpriced_hours={"a": 2.0, "b": 1.0})])
    assert two == Cost("EUR", 2, 2, 3, 4, 5, 6, {"a": 3.0, "b": 1.0}, 7)
    assert total_cost([one, Cost("CHF")]) is None
    assert total_cost([None]) is None


def test_a_failure_that_took_far_longer_than_an_epoch_counts_in_full_where_its_start_is_known(
    clocked: Clocked,
) -> None:
    number, other = clocked.begin(), clocked.begin()
    clocked.start(number, 0, SPOT)
    clocked.epoch(number, 1, 1)
    clocked.start(other, 0, SPOT)
    clocked.lose(other, 20)
    assert clocked.work() == [("epoch", 1), ("lost", 20)]
    assert isinstance(work_of(clocked.study)[0], Work)
