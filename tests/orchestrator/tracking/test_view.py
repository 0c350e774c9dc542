"""Events become runs; the same events always become the same runs."""

import json
from random import Random
from typing import Any

import pytest

from orchestrator.tracking.run_change import DataRecord, RunChange
from orchestrator.tracking.standings import Standings
from orchestrator.tracking.view import SweepView
from tests.orchestrator.tracking.fake_sweep import START_MS, sweep_events, sweep_started


def changes_of(events: list[dict[str, Any]]) -> dict[int | None, RunChange]:
    view = SweepView("id")
    for event in events:
        view.apply(event)
    return {change.run.trial: change for change in view.take_changes()}


def started(number: int = 0, **more: object) -> dict[str, Any]:
    base = {"kind": "trial_started", "number": number, "key": "abcdef0123", "seed": 3,
            "params": {}, "parameters": {}, "tags": {}, "timestamp_ms": START_MS + 1}  # fmt: skip
    return base | more


def epoch(number: int, step: int, value: float) -> dict[str, Any]:
    return {"kind": "epoch", "number": number, "epoch": step, "timestamp_ms": START_MS + 10 * step,
            "metrics": {"val/SumR": value}}  # fmt: skip


def ended(number: int, state: str, value: float | None, timestamp_ms: int) -> dict[str, Any]:
    return {"kind": "trial_ended", "number": number, "state": state, "value": value,
            "best_epoch": 1, "cause": None, "timestamp_ms": timestamp_ms}  # fmt: skip


def test_the_sweep_comes_before_its_trials() -> None:
    assert list(changes_of(sweep_events(num_trials=3))) == [None, 0, 1, 2]


def test_parameters_keep_their_type_readable() -> None:
    params = {"a": True, "b": None, "c": 0.5, "d": (32, 20), "e": "off", "f": 3}
    change = changes_of([sweep_started(), started(params=params)])[0]
    assert change.params == {
        "a": "true", "b": "null", "c": "0.5", "d": "[32, 20]", "e": "off", "f": "3",
    }  # fmt: skip


def test_tags_get_our_beginning() -> None:
    tags = {"code": "0.1.0", "prvr.data": "x", "mlflow.user": "me"}
    change = changes_of([sweep_started(), started(tags=tags)])[0]
    assert change.tags["prvr.code"] == "0.1.0"
    assert change.tags["prvr.data"] == "x"
    assert change.tags["mlflow.user"] == "me"
    assert change.tags["prvr.seed"] == "3"
    assert change.tags["prvr.trial_key"] == "abcdef0123"
    assert change.run.name == "000 abcdef"


def test_a_run_of_a_row_carries_row_seed_and_block_and_others_do_not() -> None:
    start = sweep_started() | {"labels": {"protocol": "validation", "design": "ladder"}}
    of_row = started(0, variant="+ tcpl", block=1, confirms=4, taken_from="old/7")
    changes = changes_of([start, of_row, started(1)])
    wanted = {"variant": "+ tcpl", "seed": "3", "block": "1", "confirms": "4",
              "taken_from": "old/7", "protocol": "validation"}  # fmt: skip
    assert wanted.items() <= changes[0].tags.items()
    assert (changes[0].run.name, changes[1].run.name) == ("000 + tcpl", "001 abcdef")
    assert changes[1].tags.keys().isdisjoint({"variant", "block", "confirms", "taken_from"})
    assert changes[None].tags["design"] == "ladder"
    assert changes[None].tags["protocol"] == "validation"


def test_events_of_older_sweeps_have_no_labels() -> None:
    changes = changes_of([sweep_started(), started(0)])
    assert "protocol" not in changes[None].tags | changes[0].tags


@pytest.mark.parametrize(
    ("state", "status"),
    [("complete", "FINISHED"), ("pruned", "FINISHED"), ("failed", "FAILED")],
)
def test_state_of_a_trial_is_status_and_tag(state: str, status: str) -> None:
    change = changes_of([sweep_started(), started(), ended(0, state, 1.0, START_MS + 99)])[0]
    assert (change.status, change.end_ms, change.tags["prvr.state"]) == (
        status, START_MS + 99, state,
    )  # fmt: skip


def test_best_value_follows_the_objective_epoch_by_epoch() -> None:
    events = [sweep_started(), started(), epoch(0, 1, 5.0), epoch(0, 2, 9.0), epoch(0, 3, 7.0)]
    rows = [row for row in changes_of(events)[0].metrics if row.key == "best_value"]
    assert [(row.step, row.value) for row in rows] == [(1, 5.0), (2, 9.0), (3, 9.0)]


def test_an_epoch_told_twice_adds_no_other_row() -> None:
    events = [sweep_started(), started(), epoch(0, 1, 5.0), epoch(0, 2, 9.0)]
    once = changes_of(events)[0].metrics
    twice = changes_of([*events, epoch(0, 1, 5.0)])[0].metrics
    assert set(twice) == set(once)


def test_an_end_told_twice_keeps_the_first_time() -> None:
    events = [sweep_started(), started(), ended(0, "complete", 5.0, START_MS + 50)]
    once = changes_of(events)
    twice = changes_of([*events, ended(0, "complete", 5.0, START_MS + 80)])
    assert twice == once


def test_a_smaller_value_is_better_where_that_is_the_direction() -> None:
    begin = sweep_started()
    begin["params"]["objective.direction"] = "minimize"
    events = [begin, started(0), ended(0, "complete", 2.0, START_MS + 5),
              started(1), ended(1, "complete", 1.0, START_MS + 6)]  # fmt: skip
    assert changes_of(events)[None].tags["prvr.best_trial"] == "1"


def test_only_complete_trials_win() -> None:
    events = [sweep_started(), started(0), ended(0, "pruned", 9.0, START_MS + 5),
              started(1), ended(1, "complete", 1.0, START_MS + 6)]  # fmt: skip
    assert changes_of(events)[None].tags["prvr.best_trial"] == "1"


def test_the_end_of_the_sweep_leaves_a_table_of_its_trials() -> None:
    change = changes_of(sweep_events(num_trials=4))[None]
    table = json.loads(change.texts["trials.json"])
    assert table["columns"][:5] == ["trial", "state", "val/SumR", "best_epoch", "epochs"]
    assert "losses.tau" in table["columns"]
    assert sorted(row[0] for row in table["data"]) == [0, 1, 2, 3]
    values = [row[2] for row in table["data"]]
    assert values == sorted(values, reverse=True)
    assert change.texts["sweep.yaml"].startswith("name: cbva")
    assert change.status == "FINISHED"
    assert "Best: trial" in change.tags["mlflow.note.content"]


def test_an_interrupted_sweep_leaves_no_trial_running() -> None:
    end = {
        "kind": "sweep_ended",
        "state": "interrupted",
        "counts": {},
        "timestamp_ms": START_MS + 9,
    }
    changes = changes_of([sweep_started(), started(), end])
    assert changes[0].status == changes[None].status == "KILLED"
    assert changes[0].tags["prvr.state"] == "interrupted"


def test_a_resumed_trial_runs_again() -> None:
    end = {
        "kind": "sweep_ended",
        "state": "interrupted",
        "counts": {},
        "timestamp_ms": START_MS + 9,
    }
    changes = changes_of([sweep_started(), started(), end, sweep_started(), started()])
    assert (changes[0].status, changes[0].end_ms) == ("RUNNING", None)
    assert (changes[None].status, changes[None].end_ms) == ("RUNNING", None)


def test_a_failure_leaves_its_cause() -> None:
    cause = {"kind": "ValueError", "message": "no", "traceback": "Traceback: here"}
    end = ended(0, "failed", None, START_MS + 4) | {"cause": cause}
    change = changes_of([sweep_started(), started(), end])[0]
    assert change.tags["prvr.failure"] == "ValueError: no"
    assert change.texts["failure.txt"].endswith("Traceback: here")


DATA = {"name": "tv", "fingerprint": "abc", "source": "s3://bucket/tv", "generated": None}


def test_the_sweep_and_each_trial_name_the_data_set() -> None:
    changes = changes_of([sweep_started() | {"data": DATA}, started(0), started(1)])
    assert {change.data for change in changes.values()} == {
        DataRecord("tv", "abc", "s3://bucket/tv")
    }


@pytest.mark.parametrize("lacking", [{"data": None}, {}])
def test_events_of_older_sweeps_name_no_data_set(lacking: dict[str, Any]) -> None:
    older = {key: value for key, value in sweep_started().items() if key != "data"}
    changes = changes_of([older | lacking, started(0)])
    assert (changes[None].data, changes[0].data) == (None, None)


def test_a_sweep_of_an_older_version_that_is_resumed_names_the_data_set_of_all_its_trials() -> None:
    older = {key: value for key, value in sweep_started().items() if key != "data"}
    events = [older, started(0), ended(0, "complete", 1.0, START_MS + 5)]
    changes = changes_of([*events, sweep_started() | {"data": DATA}, started(1)])
    wanted = DataRecord("tv", "abc", "s3://bucket/tv")
    assert [changes[number].data for number in (None, 0, 1)] == [wanted] * 3


def test_resuming_on_the_same_data_touches_no_trial_that_has_ended() -> None:
    view = SweepView("id")
    for event in [sweep_started(), started(0), ended(0, "complete", 1.0, START_MS + 5)]:
        view.apply(event)
    view.take_changes()
    view.apply(sweep_started())
    assert [change.run.trial for change in view.take_changes()] == [None]


def test_a_sweep_that_another_user_resumes_stays_created_by_the_first() -> None:
    again = sweep_started() | {"tags": {"mlflow.user": "bo"}}
    changes = changes_of([sweep_started(), again, started(0, tags={"mlflow.user": "bo"})])
    users = [changes[number].tags["mlflow.user"] for number in (None, 0)]
    assert users == ["ada", "bo"]


def test_registered_versions_are_linked_on_their_trials_and_on_the_sweep() -> None:
    versions = [
        {"number": 1, "model": "prvr-tv", "version": "4", "model_id": "m-1", "epoch": 7},
        {"number": 0, "model": "prvr-tv", "version": "5", "model_id": "", "epoch": 3},
    ]
    registered = {"kind": "registered", "versions": versions, "timestamp_ms": START_MS}
    events = [sweep_started(), started(0), started(1), started(2), registered]
    changes = changes_of(events)
    tags = {number: change.tags.get("prvr.registered") for number, change in changes.items()}
    assert tags == {None: "prvr-tv/4, prvr-tv/5", 0: "prvr-tv/5", 1: "prvr-tv/4", 2: None}
    assert [changes[number].models for number in (None, 0, 1)] == [{"m-1": 7}, {}, {"m-1": 7}]
    assert changes_of([*events, registered]) == changes


def test_fewer_than_fifty_metric_names() -> None:
    change = changes_of(sweep_events(num_trials=1))[0]
    assert len({row.key for row in change.metrics}) < 50


def made_up_events(seed: int) -> list[dict[str, Any]]:
    """A sweep that is interrupted and extended; trials end in every way, some of them twice."""
    random = Random(seed)
    events: list[dict[str, Any]] = [sweep_started()]
    live: list[int] = []
    ended_ones: set[int] = set()
    for step in range(1, 200):
        number = random.randrange(20)
        at_ms = START_MS + 1000 * step
        if number not in live:
            variant = random.choice(["a", "b"]) if number > 15 else None
            events.append(started(number, continued=number in ended_ones, variant=variant))
            live.append(number)
        elif random.random() < 0.6:
            events.append(epoch(number, step, random.randrange(9) / 2))
        else:
            state = random.choice(["complete", "pruned", "failed"])
            value = None if state == "failed" else random.randrange(9) / 2
            events.append(ended(number, state, value, at_ms))
            live.remove(number)
            ended_ones.add(number)
        if step == 120:
            events.append({"kind": "sweep_ended", "state": "interrupted", "timestamp_ms": at_ms})
            live.clear()
    return events


@pytest.mark.parametrize("seed", range(5))
def test_standings_that_follow_the_trials_are_those_of_all_trials(seed: int) -> None:
    view = SweepView("id")
    for event in made_up_events(seed):
        view.apply(event)
        anew = Standings(view._trials, view._goal, view._goals)
        found = view._standings
        assert (found.best(), found.winner()) == (anew.best(), anew.winner())
        assert found.counts() == anew.counts()


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_a_comparison_in_parts_sees_what_one_of_the_whole_sees(part: int) -> None:
    events = made_up_events(1)
    whole = changes_of(events)
    view, seen = SweepView("id"), []
    for first in range(0, len(events), part):
        for event in events[first : first + part]:
            view.apply(event)
        seen += view.take_ended()
    seen += view.take_changes()
    for number, change in whole.items():
        own = [some for some in seen if some.run.trial == number]
        assert set().union(*(some.params for some in own)) == change.params.keys()
        assert set().union(*(some.tags for some in own)) == change.tags.keys()
        rows = [row for some in own for row in some.metrics]
        last = {row.key: row.step for row in sorted(change.metrics, key=lambda row: row.step)}
        assert {row.key: row.step for row in sorted(rows, key=lambda row: row.step)} == last
        assert [some.status for some in own if some.status] == [change.status]
