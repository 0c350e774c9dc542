"""The sender delays in an outage and loses nothing."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking import sender as sender_module
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.run_change import MetricRow, RunChange, RunIdentity
from orchestrator.tracking.sender import MlflowSender, mlflow_sender
from orchestrator.tracking.store import TrackingStore
from tests.orchestrator.tracking.fake_sweep import sweep_events, sweep_started


class Store:
    """What an MLflow would hold, which can be away."""

    def __init__(self) -> None:
        self.rows: dict[int | None, set[MetricRow]] = {}
        self.params: dict[int | None, dict[str, str]] = {}
        self.tags: dict[int | None, dict[str, str]] = {}
        self.status: dict[int | None, str] = {}
        self.failures_left = 0
        self.calls = 0
        self.asked = threading.Event()

    def writer(self, refuse: Callable[[str], None]) -> "Store":
        self.check()
        return self

    def check(self) -> None:
        self.asked.set()
        if self.failures_left:
            self.failures_left -= 1
            raise ConnectionError("connection refused")

    def knows_sweep(self) -> bool:
        return None in self.tags

    def lacking(self, changes: Sequence[RunChange]) -> list[int | None]:
        self.check()
        return []

    def mended(self) -> None:
        self.check()

    def write(self, changes: Sequence[RunChange], parent: RunIdentity) -> None:
        self.calls += 1
        for change in changes:
            self.check()
            number = change.run.trial
            self.rows.setdefault(number, set()).update(change.metrics)
            self.params.setdefault(number, {}).update(change.params)
            self.tags.setdefault(number, {}).update(change.tags)
            if change.status:
                self.status[number] = change.status

    @property
    def content(self) -> tuple[Any, ...]:
        return self.rows, self.params, self.tags, self.status


class HangingStore(Store):
    """Says nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def check(self) -> None:
        assert self.go.wait(120)
        super().check()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "s.jsonl")
    yield box
    box.close()


def sender_of(
    outbox: Outbox,
    store: Store,
    name: str = "a",
    told: Callable[[str], None] = lambda _: None,
    first_answer_s: float = 0.0,
) -> MlflowSender:
    path = outbox.path.with_suffix(f".{name}")
    return MlflowSender(
        outbox, store.writer, lambda error: f"away: {error}", path, told, first_answer_s
    )


def send(outbox: Outbox, store: Store, name: str = "a") -> MlflowSender:
    sender = sender_of(outbox, store, name)
    sender.start()
    assert sender.flush(20)
    sender.stop()
    return sender


def fill(outbox: Outbox, events: list[dict[str, Any]]) -> None:
    for event in events:
        outbox.append(event)


def test_everything_arrives(outbox: Outbox) -> None:
    fill(outbox, sweep_events(num_trials=4))
    store = Store()
    assert send(outbox, store).problem is None
    assert store.status == {
        None: "FINISHED",
        0: "FINISHED",
        1: "FINISHED",
        2: "FAILED",
        3: "FINISHED",
    }
    assert len({row.step for row in store.rows[0]}) == 9


def test_failures_at_any_call_lose_nothing_and_double_nothing(outbox: Outbox) -> None:
    fill(outbox, sweep_events(num_trials=3))
    whole = Store()
    send(outbox, whole)
    for failures in range(1, 4):
        store = Store()
        store.failures_left = failures
        assert send(outbox, store, name=f"f{failures}").problem is None
        assert store.content == whole.content


def test_an_outage_is_told_and_flush_gives_up_in_time(outbox: Outbox) -> None:
    fill(outbox, [sweep_started()])
    store = Store()
    store.failures_left = 1000
    sender = sender_of(outbox, store)
    sender.start()
    store.asked.wait(10)
    assert not sender.flush(0.2)
    assert sender.problem == "away: connection refused"
    store.failures_left = 0
    assert sender.flush(20)
    assert sender.problem is None
    sender.stop()


def test_the_beginning_of_an_outage_is_told_once(outbox: Outbox) -> None:
    fill(outbox, [sweep_started()])
    store = Store()
    store.failures_left = 3
    told: list[str] = []
    sender = sender_of(outbox, store, told=told.append)
    sender.start()
    assert sender.flush(20)
    sender.stop()
    assert len(told) == 1
    assert told[0].startswith("away: connection refused; trials continue")


def test_who_is_away_is_told_before_anything_is_sent(outbox: Outbox) -> None:
    store = Store()
    store.failures_left = 1000
    told: list[str] = []
    sender = sender_of(outbox, store, told=told.append, first_answer_s=60)
    sender.start()
    rest = "trials continue, and the events are kept until MLflow takes them"
    assert told == [f"away: connection refused; {rest}"]
    sender.stop()


def test_who_does_not_answer_is_told_once(outbox: Outbox) -> None:
    store = HangingStore()
    told: list[str] = []
    sender = sender_of(outbox, store, told=told.append, first_answer_s=0.1)
    sender.start()
    assert [line.partition(";")[0] for line in told] == ["away: no answer for 0.1 s"]
    assert str(sender.problem) == "away: no answer for 0.1 s"
    fill(outbox, [sweep_started()])
    store.failures_left = 1
    store.go.set()
    assert sender.flush(20)
    sender.stop()
    assert sender.problem is None
    assert len(told) == 1


def test_a_server_that_cannot_be_reached_is_told_when_its_sender_starts(outbox: Outbox) -> None:
    told: list[str] = []
    nowhere = TrackingStore("http://127.0.0.1:9", None)
    sender = mlflow_sender(outbox, nowhere, "data", told.append)
    # Whatever the machine is busy with.
    sender._first_answer_s = 60
    sender.start()
    sender.stop(0)
    (line,) = told
    assert line.startswith("MLflow at http://127.0.0.1:9 does not take results: it cannot be reach")


def test_a_later_sender_goes_on_where_the_first_was_stopped(outbox: Outbox) -> None:
    events = sweep_events(num_trials=3)
    whole = Store()
    fill(outbox, events[:12])
    store = Store()
    send(outbox, store)
    fill(outbox, events[12:])
    calls = store.calls
    send(outbox, store)
    send(outbox, whole, name="whole")
    assert store.content == whole.content
    assert store.calls == calls + 1


def test_a_store_that_was_thrown_away_gets_all_again(outbox: Outbox) -> None:
    fill(outbox, sweep_events(num_trials=2))
    first = Store()
    send(outbox, first)
    fill(outbox, [sweep_started()])
    second = Store()
    send(outbox, second)
    assert second.params == first.params
    assert second.rows == first.rows


def test_a_malformed_event_holds_up_nothing_and_is_told(outbox: Outbox) -> None:
    fill(outbox, [sweep_started(), {"kind": "epoch"}, *sweep_events(num_trials=1)])
    store = Store()
    problem = send(outbox, store).problem
    assert problem is not None
    assert "refused for good, 1 times" in problem
    assert store.status[0] == "FINISHED"


def test_stop_ends_the_thread(outbox: Outbox) -> None:
    sender = sender_of(outbox, Store())
    sender.start()
    sender.stop()
    assert not any(thread.name == "mlflow-sender" for thread in threading.enumerate())


def test_a_thread_that_is_to_end_leaves_the_rest_of_its_runs(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "_RUNS_AT_ONCE", 1)
    fill(outbox, sweep_events(num_trials=5))
    whole, store = Store(), Store()
    send(outbox, whole, name="whole")
    sender = sender_of(outbox, store)
    write = store.write

    def write_and_stop(changes: Sequence[RunChange], parent: RunIdentity) -> None:
        write(changes, parent)
        sender._stopping = store.calls == 2

    monkeypatch.setattr(store, "write", write_and_stop)
    sender.start()
    assert not sender.flush(20)
    assert store.calls == 2
    monkeypatch.undo()
    send(outbox, store)
    assert store.content == whole.content
