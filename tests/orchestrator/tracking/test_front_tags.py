"""Runs of a search with several objectives and limits: the winner, the front, what is over."""

import json
from pathlib import Path

import pytest

from orchestrator.study.confirmation import crowned
from orchestrator.study.front import Front
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.tracking.run_change import RunChange
from orchestrator.tracking.view import SweepView
from tests.orchestrator.helpers import ListSink
from tests.orchestrator.report.sweeps import COSTLY, run

BEST, FRONT, OVER = "prvr.best_trial", "prvr.front", "prvr.over_limit"
ALONE = ("objectives=[]", "crown=best", "objective.metric=val/SumR")


def told(home: Path, *overrides: str) -> tuple[StudyReader, dict[int | None, RunChange], ListSink]:
    """A sweep that has run, and its runs."""
    sink = ListSink()
    run(home, COSTLY, *overrides, function="costly", sink=sink)
    view = SweepView("id")
    for event in sink.events:
        view.apply(event)
    changes = {change.run.trial: change for change in view.take_changes()}
    return StudyReader.open(study_url(home), "small"), changes, sink


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("crown=best",),
        ("limits={}",),
        (*ALONE, "limits={cost/train_s: 50}"),
        ("crown=best", "limits={cost/train_s: 50}", "confirm={top: 2, seeds: 2}"),
        ("limits={cost/train_s: 1}",),
    ],
    ids=["knee", "best", "no limits", "limits alone", "confirmed", "none within"],
)
def test_the_sweep_names_the_winner_that_launch_names(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    study, changes, _ = told(tmp_path, "search.trials=8", *overrides)
    winner = crowned(study, 1)
    tag = changes[None].tags.get(BEST)
    assert tag == (str(winner[0].number) if winner else None)
    note = changes[None].tags["mlflow.note.content"]
    named = f"Best: trial {winner[0].number:03d}, " if winner else ""
    assert ("Best: " in note) == bool(winner)
    assert named in note


def test_members_and_what_exceeds_a_limit_have_tags(tmp_path: Path) -> None:
    study, changes, sink = told(tmp_path)
    front = Front.of(study)
    assert front is not None
    assert front.knee is not None
    tags = {number: change.tags for number, change in changes.items() if number is not None}
    members = {number: own[FRONT] for number, own in tags.items() if FRONT in own}
    assert members == {
        trial.number: "knee" if trial.number == front.knee.number else "member"
        for trial in front.members
    }
    assert {number for number, own in tags.items() if OVER in own} == {
        trial.number for trial in (*front.untrained, *front.exceeding)
    }
    untrained, slow = front.untrained[0].number, front.exceeding[0].number
    assert tags[untrained][OVER] == front.untrained[0].over_limit
    assert changes[untrained].run.name == f"{untrained:03d} over a limit"
    assert tags[slow][OVER] == "cost/train_s is 80, allowed: at most 50"
    params = changes[None].params
    assert params["objectives"] == "maximize val/SumR, minimize cost/bytes_per_video"
    assert params["limits"] == "cost/bytes_per_video 20,000, cost/train_s 50"
    assert params["crown"] == "knee"
    table = json.loads(changes[None].texts["trials.json"])
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    (own,) = [row for row in rows if row["trial"] == front.knee.number]
    assert own["cost/bytes_per_video"] == front.knee.costs["cost/bytes_per_video"]
    assert own["front"] == "knee"
    assert (
        f"{own['cost/bytes_per_video']:,.0f}, cost/train_s 8 (the knee of "
        in (changes[None].tags["mlflow.note.content"])
    )
    assert not any("prvr.front" in event.get("tags", {}) for event in sink.events)


def test_who_leaves_the_front_loses_the_tag(tmp_path: Path) -> None:
    _, _, sink = told(tmp_path)
    view = SweepView("id")
    *trials, end = sink.events
    last = max(k for k, event in enumerate(trials) if event["kind"] == "trial_ended")
    for event in [*trials[:last], end]:
        view.apply(event)
    before = {change.run.trial: change.tags.get(FRONT) for change in view.take_changes()}
    (leaving, *_) = [number for number, word in before.items() if word == "member"]
    better = {**trials[last], "value": 400.0, "costs": {"cost/bytes_per_video": 1.0,
              "cost/train_s": 1.0}, "state": "complete"}  # fmt: skip
    view.apply({key: value for key, value in better.items() if key != "over_limit"})
    view.apply(end)
    after = {change.run.trial: change.tags.get(FRONT) for change in view.take_changes()}
    assert after[leaving] == "no"
    assert after[better["number"]] == "knee"


def test_events_of_a_single_objective_are_as_before(tmp_path: Path) -> None:
    _, changes, sink = told(tmp_path, *ALONE, "limits={}", "search.trials=2")
    assert not any({"goals", "costs", "over_limit"} & event.keys() for event in sink.events)
    assert not {"objectives", "limits", "crown"} & changes[None].params.keys()
    table = json.loads(changes[None].texts["trials.json"])
    assert "over_limit" not in table["columns"]
