"""What `status` and the end of a launch say of several objectives and limits."""

import json
from pathlib import Path

import pytest

from orchestrator.commands.outcome import result_summary, winner_lines
from orchestrator.commands.status_text import render_status
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialRequest
from orchestrator.sweep.launch import LaunchResult
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.run import SweepResult
from orchestrator.sweep.status import SweepStatus, read_status
from orchestrator.tracking.store import TrackingStore
from tests.orchestrator.helpers import new_searcher, new_study, small_spec
from tests.orchestrator.report.sweeps import COSTLY, run

BYTES, SECONDS = "cost/bytes_per_video", "cost/train_s"
TWO = "objectives=[{metric: val/SumR}, {metric: cost/bytes_per_video}]"
LIMITS = "limits={cost/bytes_per_video: 4000, cost/train_s: 50}"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepResult]:
    home = tmp_path_factory.mktemp("costly")
    return home, run(home, COSTLY, function="costly")


def drawn(study: SweepStudy, spec: SweepSpec, count: int) -> list[TrialRequest]:
    """The next trials that are trained."""
    searcher, found = new_searcher(study, spec), []
    while len(found) < count:
        trial = searcher.next()
        found += [trial] if isinstance(trial, TrialRequest) else []
    return found


def reported(study: SweepStudy, trial: TrialRequest, value: float, seconds: float) -> None:
    study.note_costs(trial.number, {BYTES: 1000.0 * trial.settings.model.num_scales,
                                    SECONDS: seconds})  # fmt: skip
    study.record_epoch(trial.number, 1, value, 1, is_judged=False)


def test_the_front_is_a_small_table(ended: tuple[Path, SweepResult]) -> None:
    status = read_status(ended[0], "small")
    front = status.front
    assert front is not None
    assert status.best == front.crowned == front.knee
    lines = render_status(status).splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("front, "))
    assert lines[first] == f"front, {len(front.members)} trials that no other one beats:"
    assert lines[first + 1].split() == ["trial", "val/SumR", BYTES]
    rows = [line.split() for line in lines[first + 2 : first + 2 + len(front.members)]]
    assert [row[0] for row in rows] == [str(trial.number) for trial in front.members]
    assert [row[3:] for row in rows].count(["crowned,", "knee"]) == 1
    text = "\n".join(lines)
    assert f"{len(front.untrained)} over a limit" in lines[0]
    assert "to come" not in lines[0]
    assert f"{len(front.untrained)} trials not trained, over a limit: " in text
    slow = front.exceeding[0].number
    assert f"trial {slow} was trained and is not crowned: cost/train_s is 80, allowed: at" in text


def test_its_json_has_front_costs_and_limits(ended: tuple[Path, SweepResult]) -> None:
    fields = json.loads(json.dumps(read_status(ended[0], "small").to_dict()))
    front = fields["front"]
    assert front["crowned"] == front["knee"] == fields["best"]["number"]
    assert front["limits"] == {BYTES: 20000.0, SECONDS: 50.0}
    assert all(set(member["costs"]) >= {BYTES, SECONDS} for member in front["members"])
    over = {trial["number"] for trial in fields["trials"] if trial["over_limit"]}
    assert set(front["untrained"]) == over
    assert set(map(int, front["over_limit"])) > over
    assert fields["num_trials"] == len(fields["trials"])
    assert read_status(ended[0], "small").front is not None


def test_a_running_sweep_counts_trials_that_are_replaced(tmp_path: Path) -> None:
    spec = small_spec(LIMITS)
    study = new_study(tmp_path, spec)
    trials = drawn(study, spec, 3)
    untrained = study.num_asked() - len(trials)
    assert untrained
    status = read_status(tmp_path, "small")
    assert status.num_trials == spec.num_trials + untrained
    assert f"3 running, {untrained} over a limit, 3 to come" in render_status(status)
    study.set_attribute("state", "finished")
    assert "to come" not in render_status(read_status(tmp_path, "small"))


def test_a_space_without_further_points_ends_the_search(tmp_path: Path) -> None:
    two = "search.parameters={model.hidden_size: {type: categorical, choices: [16, 128]}}"
    run(tmp_path, COSTLY, two, "model.num_clips=8", "search.trials=6", function="costly")
    status = read_status(tmp_path, "small")
    assert status.front is not None
    trained = len(status.trials) - len(status.front.untrained)
    assert trained < 6
    assert StudyReader.open(study_url(tmp_path), "small").attributes["num_trials"] == trained
    assert "to come" not in render_status(status)


def best_lines(status: SweepStatus) -> list[str]:
    return [line for line in render_status(status).splitlines() if "objective: " in line]


def test_what_exceeds_a_limit_is_not_named_as_best_without_saying_so(tmp_path: Path) -> None:
    spec = small_spec(TWO, LIMITS)
    study = new_study(tmp_path, spec)
    first, second = drawn(study, spec, 2)
    reported(study, first, 20.0, 60.0)
    (line,) = best_lines(read_status(tmp_path, "small"))
    assert line.startswith(f"best objective: 20.0000 (trial {first.number}, running, epoch 1 of 1)")
    assert line.endswith("; not crowned: cost/train_s is 60, allowed: at most 50")
    reported(study, second, 10.0, 40.0)
    (line,) = best_lines(read_status(tmp_path, "small"))
    assert line == f"best objective: 10.0000 (trial {second.number}, running, epoch 1 of 1)"
    study.tell_complete(first.number)
    assert read_status(tmp_path, "small").best is None
    study.tell_complete(second.number)
    status = read_status(tmp_path, "small")
    assert status.best is not None
    assert status.best.number == second.number
    (line,) = best_lines(status)
    assert line.startswith("crowned objective: 10.0000")
    assert line.endswith("; the best val/SumR of 1 trial within the limits that no other one beats")


def test_a_single_objective_has_no_front(tmp_path: Path) -> None:
    new_study(tmp_path, small_spec())
    status = read_status(tmp_path, "small")
    assert (status.front, status.to_dict()["front"]) == (None, None)


def test_the_winner_of_a_launch_says_by_what_it_won(ended: tuple[Path, SweepResult]) -> None:
    home, sweep = ended
    locations = SweepLocations(home, None, TrackingStore.of_home(home))
    result = LaunchResult(sweep, (), None, None)
    lines = winner_lines(result, locations, "val/SumR").splitlines()
    assert sweep.best is not None
    assert sweep.front is not None
    assert lines[0].startswith(f"winner: trial {sweep.best.number}, val/SumR ")
    size = f"{sweep.best.costs[BYTES]:,.0f}"
    members = len(sweep.front.members)
    assert lines[1] == (
        f"  cost/bytes_per_video {size}, cost/train_s 8; the knee of {members} trials within the "
        "limits that no other one beats"
    )
    assert f"front, {members} trials that no other one beats:" in lines
    other = f"prvr-sweep promote small/NUMBER --home {home}"
    assert f"another one of the front: {other}" in lines
    assert result_summary(result, locations)["front"]["crowned"] == sweep.best.number


def test_a_launch_without_a_feasible_trial_says_so(tmp_path: Path) -> None:
    sweep = run(tmp_path, COSTLY, "limits={cost/train_s: 1}", "search.trials=2", function="costly")
    locations = SweepLocations(tmp_path, None, TrackingStore.of_home(tmp_path))
    lines = winner_lines(LaunchResult(sweep, (), None, None), locations, "val/SumR").splitlines()
    assert lines[0] == "no complete trial is within the limits"
    assert (
        lines[1] == "trial 0 was trained and is not crowned: cost/train_s is 8, allowed: at most 1"
    )
