"""What was deleted in MLflow is restored or made again, whoever deleted it and when."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine, text

from orchestrator.tracking import sender as sender_module
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.sender import MlflowSender, mlflow_sender
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect
from tests.cases import rest_in_soak
from tests.orchestrator.tracking.fake_sweep import START_MS, sweep_events, sweep_started
from tests.orchestrator.tracking.reading import DATA_SET, EXPERIMENT, content_of, runs_of

EVENTS = sweep_events(num_trials=4, epochs=3)


@pytest.fixture
def outbox(home: Path) -> Iterator[Outbox]:
    box = Outbox(home / "outbox" / "cbva.jsonl")
    yield box
    box.close()


def fill(outbox: Outbox, events: list[dict[str, Any]]) -> None:
    for event in events:
        outbox.append(event)


def send(outbox: Outbox, store: TrackingStore) -> list[str]:
    """Send what is left, and return what was said."""
    said: list[str] = []
    sender = mlflow_sender(outbox, store, DATA_SET, said.append)
    sender.start()
    assert sender.flush(120), sender.problem
    sender.stop()
    assert sender.problem is None
    return said


def parents(store: TrackingStore, outbox: Outbox) -> set[str]:
    """Parents that the runs of trials name, beside the sweep's own run."""
    runs = runs_of(store, outbox)
    own = runs.pop("sweep").info.run_id
    return {run.data.tags["mlflow.parentRunId"] for run in runs.values()} - {own}


def delete(store: TrackingStore, outbox: Outbox, *names: str, for_good: bool = False) -> None:
    for name in names:
        run_id = runs_of(store, outbox)[name].info.run_id
        connect(store).delete_run(run_id)
        if for_good:
            SqlAlchemyStore(store.uri, store.artifact_root)._hard_delete_run(run_id)


@pytest.mark.parametrize(
    ("names", "said"),
    rest_in_soak(
        [
            (["1"], "the run of trial 1 was deleted; restored"),
            (["0", "2", "3"], "the runs of trials 0, 2, 3 were deleted; restored"),
            (["sweep"], "the run of the sweep was deleted; restored"),
            (["1", "sweep"], "the runs of the sweep and of trial 1 were deleted; restored"),
        ]
    ),
)
def test_deleted_runs_are_restored(
    outbox: Outbox, store: TrackingStore, names: list[str], said: str
) -> None:
    fill(outbox, EVENTS)
    assert send(outbox, store) == []
    before = content_of(store, outbox)
    delete(store, outbox, *names)
    assert send(outbox, store) == [f"MLflow: {said}"]
    assert content_of(store, outbox) == before
    assert parents(store, outbox) == set()
    assert send(outbox, store) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1", "2"], ["the runs of trials 1, 2 were gone; made again"]),
        (
            ["sweep"],
            [
                "the run of the sweep was gone; made again",
                "4 runs named a parent that is not there; now the sweep's run",
            ],
        ),
    ],
)
def test_runs_that_are_gone_are_made_again(
    outbox: Outbox, store: TrackingStore, names: list[str], said: list[str]
) -> None:
    fill(outbox, EVENTS)
    send(outbox, store)
    before = content_of(store, outbox)
    delete(store, outbox, *names, for_good=True)
    assert send(outbox, store) == [f"MLflow: {line}" for line in said]
    assert content_of(store, outbox) == before
    assert parents(store, outbox) == set()
    assert send(outbox, store) == []


def test_a_deleted_experiment_with_runs_of_the_sweep_is_restored(
    outbox: Outbox, store: TrackingStore
) -> None:
    fill(outbox, EVENTS)
    send(outbox, store)
    before = content_of(store, outbox)
    client = connect(store)
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    assert send(outbox, store) == [f"MLflow: the experiment {EXPERIMENT} was deleted; restored"]
    assert content_of(store, outbox) == before


def test_an_experiment_that_is_gone_gets_everything_again(
    outbox: Outbox, store: TrackingStore
) -> None:
    fill(outbox, EVENTS)
    send(outbox, store)
    before = content_of(store, outbox)
    client = connect(store)
    experiment_id = client.get_experiment_by_name(EXPERIMENT).experiment_id
    client.delete_experiment(experiment_id)
    SqlAlchemyStore(store.uri, store.artifact_root)._hard_delete_experiment(experiment_id)
    said = send(outbox, store)
    assert said == ["MLflow: nothing of the sweep was there; all of it is sent again"]
    assert content_of(store, outbox) == before


def spoil(store: TrackingStore, *statements: str) -> None:
    engine = create_engine(store.uri)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize(
    "harm",
    rest_in_soak(
        [
            ["DELETE FROM params WHERE key = 'losses.tau' AND run_uuid = '{run}'"],
            [
                "DELETE FROM metrics WHERE key = 'val/R1' AND run_uuid = '{run}'",
                "DELETE FROM latest_metrics WHERE key = 'val/R1' AND run_uuid = '{run}'",
            ],
            [
                "DELETE FROM metrics WHERE step = 3 AND run_uuid = '{run}'",
                "UPDATE latest_metrics SET step = 2 WHERE run_uuid = '{run}'",
            ],
            ["DELETE FROM tags WHERE key = 'prvr.trial_key' AND run_uuid = '{run}'"],
            ["UPDATE runs SET status = 'RUNNING' WHERE run_uuid = '{run}'"],
        ],
        quick=2,
    ),
)
def test_what_a_run_lacks_is_sent_again(
    outbox: Outbox, store: TrackingStore, harm: list[str]
) -> None:
    fill(outbox, EVENTS)
    send(outbox, store)
    before = content_of(store, outbox)
    run = runs_of(store, outbox)["1"].info.run_id
    spoil(store, *(statement.format(run=run) for statement in harm))
    said = send(outbox, store)
    assert said == [
        "MLflow: the run of trial 1 was lacking parameters, metrics or files; sent again"
    ]
    assert content_of(store, outbox) == before


def test_runs_of_an_outbox_that_is_read_in_parts_are_mended(
    outbox: Outbox, store: TrackingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part holds a whole trial, and the sweep was interrupted and resumed in one of them."""
    monkeypatch.setattr(sender_module, "_EVENTS_PER_BATCH", 3)
    monkeypatch.setattr(sender_module, "_RUNS_AT_ONCE", 1)
    end = {"kind": "sweep_ended", "state": "interrupted", "counts": {}, "timestamp_ms": START_MS}
    fill(outbox, [*EVENTS[:9], end, sweep_started(), *EVENTS[9:]])
    send(outbox, store)
    before = content_of(store, outbox)
    assert send(outbox, store) == []
    delete(store, outbox, "2", for_good=True)
    run = runs_of(store, outbox)["1"].info.run_id
    spoil(store, f"DELETE FROM params WHERE key = 'losses.tau' AND run_uuid = '{run}'")
    assert send(outbox, store) == [
        "MLflow: the run of trial 2 was gone; made again",
        "MLflow: the run of trial 1 was lacking parameters, metrics or files; sent again",
    ]
    assert content_of(store, outbox) == before


def test_files_of_the_sweep_are_sent_again_but_not_to_where_a_home_was(
    outbox: Outbox, store: TrackingStore, home: Path, tmp_path: Path
) -> None:
    fill(outbox, EVENTS)
    send(outbox, store)
    before = content_of(store, outbox)
    shutil.rmtree(home / "mlartifacts")
    said = send(outbox, store)
    assert said == [
        "MLflow: the run of the sweep was lacking parameters, metrics or files; sent again"
    ]
    assert content_of(store, outbox)["sweep"] == before["sweep"]
    moved = home.rename(tmp_path / "moved")
    there = Outbox(moved / "outbox" / "cbva.jsonl")
    assert send(there, TrackingStore.of_home(moved)) == []
    assert not home.exists()
    there.close()


def test_what_a_user_changed_in_mlflow_stays(outbox: Outbox, store: TrackingStore) -> None:
    fill(outbox, EVENTS)
    send(outbox, store)
    client, run = connect(store), runs_of(store, outbox)["sweep"]
    client.set_tag(run.info.run_id, "mlflow.note.content", "mine")
    client.log_metric(runs_of(store, outbox)["0"].info.run_id, "val/SumR", 1.0, step=99)
    assert send(outbox, store) == []
    assert runs_of(store, outbox)["sweep"].data.tags["mlflow.note.content"] == "mine"


@pytest.fixture
def live(outbox: Outbox, store: TrackingStore) -> Iterator[tuple[MlflowSender, list[str]]]:
    """A sender of a sweep that runs, and what it said."""
    said: list[str] = []
    sender = mlflow_sender(outbox, store, DATA_SET, said.append)
    sender.start()
    yield sender, said
    sender.stop()


def _delete_trial(client: MlflowClient, store: TrackingStore, outbox: Outbox) -> None:
    client.delete_run(runs_of(store, outbox)["1"].info.run_id)


def _delete_sweep(client: MlflowClient, store: TrackingStore, outbox: Outbox) -> None:
    client.delete_run(runs_of(store, outbox)["sweep"].info.run_id)


def _delete_experiment(client: MlflowClient, store: TrackingStore, outbox: Outbox) -> None:
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _lose_trial(client: MlflowClient, store: TrackingStore, outbox: Outbox) -> None:
    delete(store, outbox, "1", for_good=True)


@pytest.mark.parametrize(
    ("harm", "said"),
    rest_in_soak(
        [
            (_delete_trial, "the run of trial 1 was deleted; restored"),
            (_delete_sweep, "the run of the sweep was deleted; restored"),
            (_delete_experiment, f"the experiment {EXPERIMENT} was deleted; restored"),
            (_lose_trial, "the run of trial 1 was gone; made again"),
        ]
    ),
)
def test_a_deletion_while_the_sweep_runs_loses_nothing(
    outbox: Outbox,
    store: TrackingStore,
    live: tuple[MlflowSender, list[str]],
    tmp_path: Path,
    new_home: Callable[[Path], Path],
    harm: Callable[[MlflowClient, TrackingStore, Outbox], None],
    said: str,
) -> None:
    sender, lines = live
    # In the midst of trial 1.
    cut = next(k for k, event in enumerate(EVENTS) if event.get("number") == 1) + 2
    fill(outbox, EVENTS[:cut])
    assert sender.flush(120), sender.problem
    harm(connect(store), store, outbox)
    for event in EVENTS[cut:]:
        outbox.append(event)
        if event is EVENTS[cut]:
            assert sender.flush(120), sender.problem
    assert sender.flush(120), sender.problem
    assert lines == [f"MLflow: {said}"]
    assert sender.problem is None
    whole = TrackingStore.of_home(new_home(tmp_path / "whole"))
    send(outbox, whole)
    assert content_of(store, outbox) == content_of(whole, outbox)
    assert parents(store, outbox) == set()


def test_the_second_run_of_a_trial_that_an_older_version_made_gets_all_of_it(
    outbox: Outbox, store: TrackingStore
) -> None:
    """It made one where the first was deleted, with what came afterwards alone."""
    fill(outbox, EVENTS)
    send(outbox, store)
    before = content_of(store, outbox)
    client = connect(store)
    first = runs_of(store, outbox)["1"]
    client.delete_run(first.info.run_id)
    tags = {key: first.data.tags[key] for key in ("prvr.sweep_id", "prvr.trial", "prvr.sweep")}
    second = client.create_run(first.info.experiment_id, first.info.start_time, tags)
    client.log_metric(second.info.run_id, "val/SumR", before["1"]["metrics"]["val/SumR"][-1][2],
                      before["1"]["metrics"]["val/SumR"][-1][1], 3)  # fmt: skip
    assert any("trial 1 was lacking" in line for line in send(outbox, store))
    after = content_of(store, outbox)
    assert after["1"]["params"] == before["1"]["params"]
    assert after["1"]["metrics"] == before["1"]["metrics"]
    deleted = client.search_runs([first.info.experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert [run.info.run_id for run in deleted] == [first.info.run_id]
    assert parents(store, outbox) == set()
