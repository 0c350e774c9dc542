"""The study: values, states, causes, and what a driver that dies leaves behind."""

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from orchestrator.base.errors import SweepExistsError, SweepNotFoundError
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import SweepStudy, shown_url, study_url
from orchestrator.study.trial import FailureCause, TrialState
from prvr_model.reporting import Decision
from tests.cases import rest_in_soak
from tests.orchestrator.helpers import new_searcher, new_study, reopened_study, small_spec

ASHA = (
    "early_stopping={method: asha, first_rung: 2, reduction: 2, max_epochs: 9}",
    "search.trials=20",
)


def record(study: SweepStudy, number: int, *values: float) -> list[Decision]:
    return [
        study.record_epoch(number, k, value, 1000 + k, is_judged=True).decision
        for k, value in enumerate(values, start=1)
    ]


def ask(study: SweepStudy, spec: SweepSpec) -> int:
    """Number of a new trial, also where others are unfinished."""
    searcher = new_searcher(study, spec)
    searcher._unfinished.clear()
    request = searcher.next()
    assert request is not None
    return request.number


def test_value_is_the_best_so_far(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    number = ask(study, spec)
    record(study, number, 1.0, 5.0, 3.0)
    study.tell_complete(number)
    summary = study.summary(number)
    assert (summary.value, summary.best_epoch, summary.epochs) == (5.0, 2, 3)
    stored = optuna.load_study(study_name="small", storage=study_url(tmp_path)).trials[number]
    assert stored.value == 5.0
    assert stored.intermediate_values == {1: 1.0, 2: 5.0, 3: 5.0}


def test_smaller_is_better_where_the_spec_says_so(tmp_path: Path) -> None:
    spec = small_spec("objective.direction=minimize")
    study = new_study(tmp_path, spec)
    for values in ((3.0, 2.0, 4.0), (1.0,)):
        number = ask(study, spec)
        record(study, number, *values)
        study.tell_complete(number)
    assert [trial.value for trial in study.best(2)] == [1.0, 2.0]
    assert study.summary(0).best_epoch == 2


def test_a_known_epoch_is_not_recorded_again(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    number = ask(study, spec)
    record(study, number, 1.0, 2.0)
    again = study.record_epoch(number, 1, 99.0, 5000, is_judged=True)
    assert not again.is_new
    assert [row.objective for row in study.rows(number)] == [1.0, 2.0]
    assert study.summary(number).value == 2.0


def test_second_study_of_a_name_is_refused_with_what_is_there(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    record(study, ask(study, spec), 1.0)
    number = ask(study, spec)
    study.tell_failed(number, FailureCause("ValueError", "no", "trace"))
    with pytest.raises(SweepExistsError, match="1 running, 1 failed") as caught:
        new_study(tmp_path, spec)
    assert caught.value.exit_code == 2


def test_study_without_a_trial_is_replaced(tmp_path: Path) -> None:
    spec = small_spec()
    new_study(tmp_path, spec)
    study = new_study(tmp_path, spec)
    assert ask(study, spec) == 0


def test_reader_sees_a_running_sweep_and_cannot_write(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    record(study, ask(study, spec), 1.0)
    reader = StudyReader.open(study_url(tmp_path), "small")
    assert reader.counts()[TrialState.RUNNING] == 1
    assert reader.summaries()[0].value == 1.0
    reader._study.set_user_attr("state", "spoiled")
    assert "state" not in StudyReader.open(study_url(tmp_path), "small").attributes


def test_unknown_sweep_is_named_with_those_there(tmp_path: Path) -> None:
    with pytest.raises(SweepNotFoundError, match="none"):
        StudyReader.open(study_url(tmp_path), "small")
    assert not (tmp_path / "study.db").exists()
    new_study(tmp_path, small_spec())
    with pytest.raises(SweepNotFoundError, match="small"):
        StudyReader.open(study_url(tmp_path), "smal")


def test_failure_keeps_its_cause_and_its_epochs(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    number = ask(study, spec)
    record(study, number, 4.0)
    cause = FailureCause("ValueError", "no", "trace")
    study.tell_failed(number, cause)
    summary = StudyReader.open(study_url(tmp_path), "small").summary(number)
    assert (summary.state, summary.cause, summary.value) == (TrialState.FAILED, cause, 4.0)
    assert study.best() == ()


def test_password_is_not_shown() -> None:
    assert "secret" not in shown_url("postgresql://me:secret@host/studies")


def test_unfinished_trial_is_taken_up_under_its_number(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    before = new_searcher(study, spec).next()
    record(study, 0, 1.0)
    study = reopened_study(tmp_path, spec)
    assert study.unfinished() == (0,)
    assert new_searcher(study, spec).next() == before
    assert not study.record_epoch(0, 1, 1.0, 1001, is_judged=True).is_new
    assert study.record_epoch(0, 2, 3.0, 1002, is_judged=True).is_new
    study.tell_complete(0)
    assert study.summary(0).value == 3.0


@dataclass(frozen=True)
class Judged:
    home: Path
    spec: SweepSpec
    decisions: list[Decision]


class Killed(BaseException):
    """The driver dies here."""


def die_at(monkeypatch: pytest.MonkeyPatch, study: SweepStudy, write: str, after: bool) -> None:
    """Let the driver die at a kind of write to the storage, before or after it."""
    storage = type(study._study._storage)
    original = getattr(storage, write)

    def dies(*args: object, **kwargs: object) -> None:
        if after:
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(storage, write, dies)


@pytest.fixture(scope="module", params=["asha", "hyperband"])
def judged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A study before an epoch that the pruner judges, and what is decided if nothing happens."""
    home = tmp_path_factory.mktemp(request.param)
    spec = small_spec(*ASHA, f"early_stopping.method={request.param}")
    study = new_study(home / "before", spec)
    for value in (1.0, 4.0, 6.0):
        record(study, ask(study, spec), value, value)
    record(study, ask(study, spec), 2.5)
    copy(home / "before", home / "lived")
    return Judged(home / "before", spec, go_on(reopened_study(home / "lived", spec), spec))


def copy(home: Path, target: Path) -> None:
    # SQLite's own way: what is still in the log comes along.
    target.mkdir()
    with (
        closing(sqlite3.connect(home / "study.db")) as source,
        closing(sqlite3.connect(target / "study.db")) as made,
    ):
        source.backup(made)


def go_on(study: SweepStudy, spec: SweepSpec) -> list[Decision]:
    """Decisions on the judged epoch of trial 3, and on two trials after it."""
    decision = study.record_epoch(3, 2, 2.5, 1002, is_judged=True).decision
    return [decision, *(record(study, ask(study, spec), value, value)[-1] for value in (2.6, 7.0))]


@pytest.mark.parametrize("after", rest_in_soak([True, False]))
@pytest.mark.parametrize(
    "write", ["set_trial_user_attr", "set_trial_intermediate_value", "set_trial_system_attr"]
)
def test_driver_killed_at_any_write_decides_as_if_it_had_lived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: Judged, write: str, after: bool
) -> None:
    home = tmp_path / "killed"
    copy(judged.home, home)
    study = reopened_study(home, judged.spec)
    with monkeypatch.context() as patch, suppress(Killed):  # Hyperband may note nothing
        die_at(patch, study, write, after)
        study.record_epoch(3, 2, 2.5, 1002, is_judged=True)
    study = reopened_study(home, judged.spec)
    assert go_on(study, judged.spec) == judged.decisions
    assert study._study.trials[3].intermediate_values == {1: 2.5, 2: 2.5}


def test_the_killed_driver_was_about_to_prune(judged: Judged) -> None:
    """Else the test above could pass without keeping anything."""
    if judged.spec.early_stopping.method == "asha":
        assert judged.decisions[0] is Decision.STOP


def test_stored_rungs_are_those_of_the_pruner_itself(tmp_path: Path) -> None:
    """The detour over one commit changes nothing of what Optuna would have stored."""
    spec = small_spec(*ASHA)
    study = new_study(tmp_path, spec)
    plain = optuna.create_study(direction="maximize", pruner=build_pruner(spec.early_stopping))
    for value in (5.0, 1.0, 6.0, 4.0, 9.0, 2.0):
        number, trial = ask(study, spec), plain.ask()
        for epoch in range(1, 5):
            decision = study.record_epoch(number, epoch, value + epoch, 1000, is_judged=True)
            trial.report(value + epoch, epoch)
            assert (decision.decision is Decision.STOP) == trial.should_prune()
            if decision.decision is Decision.STOP:
                break
        ours, theirs = study._study.trials[number], plain.trials[number]
        assert ours.system_attrs == theirs.system_attrs


def test_last_epoch_is_not_judged(tmp_path: Path) -> None:
    spec = small_spec(*ASHA)
    study = new_study(tmp_path, spec)
    for value in (9.0, 8.0, 7.0):
        record(study, ask(study, spec), value, value)
    number = ask(study, spec)
    record(study, number, 1.0)
    assert study.record_epoch(number, 2, 1.0, 2, is_judged=False).decision is Decision.CONTINUE
