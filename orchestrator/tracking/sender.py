"""Sends a sweep's events from the outbox to MLflow, on a thread of its own.

The driver writes events to the disk and continues; MLflow may be slow, away or broken meanwhile.
An outage delays what MLflow shows; it loses no event and stops no trial.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestrator.base.stopwatch import importing
from orchestrator.tracking.outbox import Outbox, OutboxReader
from orchestrator.tracking.run_change import RunChange, RunIdentity, RunsDeletedError
from orchestrator.tracking.store import TrackingStore, experiment_name, load_mlflow
from orchestrator.tracking.view import SweepView

# Where many trials run, a run then gets several epochs in one call, and little is repeated after a
# failure.
_EVENTS_PER_BATCH = 2000
# A second's work, after which the thread can be stopped.
_RUNS_AT_ONCE = 16
# Soon enough for a person who watches the pages, and longer than writing a batch takes.
_POLL_S = 1.0
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
# While the driver waits in `flush`, the return of MLflow must be noticed at once.
_HURRIED_BACKOFF_S = 0.5
# A server answers in a fraction of this; behind a firewall that drops packets, an error takes a
# minute.
_FIRST_ANSWER_S = 5.0
# After Ctrl-C everything ends within 10 s. A thread that hangs in a socket is left to end with the
# process; one that writes a file must not be, in the midst of a transaction.
_STOP_S, _FILE_STOP_S = 1.0, 6.0
_GOES_ON = "trials continue, and the events are kept until MLflow takes them"


class RunWriter(Protocol):
    """Writes changes of runs; `writer.MlflowWriter` outside of tests."""

    def knows_sweep(self) -> bool:
        """Whether the store has runs of the sweep already."""

    def lacking(self, changes: Sequence[RunChange]) -> Sequence[int | None]:
        """Trials whose runs lack something of changes written before; None: the sweep's own."""

    def mended(self) -> None:
        """What was lacking is written again."""

    def write(self, changes: Sequence[RunChange], parent: RunIdentity) -> None:
        """Write changes, which may have been written before."""


class MlflowSender:
    """Thread that brings MLflow up to date with an outbox.

    Args:
        outbox: Where the driver writes its events.
        open_writer: Called on the thread, again after each failure until it succeeds; its argument
            takes a line for each change that is refused for good.
        describe: Makes one line for the user about an error.
        position_path: Where the reader's position is kept; one per outbox and store.
        warn: Takes a line when an outage begins, and about what MLflow had lost; called on the
            thread.
        first_answer_s: Seconds that `start` waits for the first answer.
    """

    def __init__(
        self,
        outbox: Outbox,
        open_writer: Callable[[Callable[[str], None]], RunWriter],
        describe: Callable[[Exception], str],
        position_path: Path,
        warn: Callable[[str], None] = lambda _: None,
        first_answer_s: float = 0.0,
    ) -> None:
        self._first_answer_s = first_answer_s
        self._tried = threading.Event()
        self._outbox = outbox
        self._warn = warn
        self._open_writer = open_writer
        self._describe = describe
        self._reader = OutboxReader(outbox, position_path)
        self._writer: RunWriter | None = None
        self._view = SweepView(outbox.identity)
        self._changed = threading.Condition()
        self._stopping = False
        self._waiting = 0
        self._refusals: list[str] = []
        self._outage: str | None = None
        self._backoff_s = _FIRST_BACKOFF_S
        # A daemon: a call that hangs in a socket must not keep the driver from ending.
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)

    @property
    def problem(self) -> str | None:
        """What keeps results from MLflow, or what it refused; None if all is well."""
        return self._outage or self._outbox.problem or self._refused()

    @property
    def is_done(self) -> bool:
        """Whether MLflow was looked at and has everything that the driver wrote."""
        return self._writer is not None and self._outbox.settle() and self._reader.is_done

    def start(self) -> None:
        """Start sending; an unreachable server is reported at once."""
        self._thread.start()
        if self._first_answer_s and not self._tried.wait(self._first_answer_s):
            late = TimeoutError(f"no answer for {self._first_answer_s:g} s")
            self._begin_outage(self._describe(late))

    def flush(self, timeout_s: float) -> bool:
        """Wait until MLflow has everything written so far, or the time is over.

        Returns:
            Whether it has. If not, `problem` says why, if that is known, and the rest stays in the
            outbox for the next sender.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            while not self.is_done and self._thread.is_alive():
                rest = deadline - time.monotonic()
                if rest <= 0:
                    break
                self._changed.wait(rest)
            self._waiting -= 1
        return self.is_done

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread after its current batch; events that are not sent stay in the outbox."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _refused(self) -> str | None:
        if not self._refusals:
            return None
        return f"refused for good, {len(self._refusals)} times, last: {self._refusals[-1]}"

    def _run(self) -> None:
        while not self._stopping:
            try:
                moved = self._send_batch()
            except RunsDeletedError:
                # The next writer restores the runs, says so, and gets this batch again.
                self._writer = None
                moved = False
            except Exception as error:  # noqa: BLE001  (recorded and shown as `problem`)
                self._fail(error)
                moved = False
            else:
                self._outage = None
                self._backoff_s = _FIRST_BACKOFF_S
            with self._changed:
                self._changed.notify_all()
                if not moved and not self._stopping:
                    self._changed.wait(self._pause_s())

    def _pause_s(self) -> float:
        if self._outage is None:
            return _POLL_S
        return min(self._backoff_s, _HURRIED_BACKOFF_S) if self._waiting else self._backoff_s

    def _send_batch(self) -> bool:
        """Send the next events; returns whether there were any."""
        if self._writer is None:
            self._writer = self._open()
        batch = self._reader.read(_EVENTS_PER_BATCH)
        if batch.end == batch.start:
            return False
        self._apply(batch.events, self._view)
        if self._write(self._writer, self._view.take_changes(), self._view.sweep_run):
            self._reader.commit(batch.end)
        return True

    def _write(self, writer: RunWriter, changes: Sequence[RunChange], parent: RunIdentity) -> bool:
        """Write changes; False: the thread is to end, and the next sender writes them again."""
        for first in range(0, len(changes), _RUNS_AT_ONCE):
            if self._stopping:
                return False
            writer.write(changes[first : first + _RUNS_AT_ONCE], parent)
        return True

    def _open(self) -> RunWriter:
        """Connect, bring the view to where the reader is, and mend what MLflow lacks of it."""
        writer = self._open_writer(self._refusals.append)
        # Always called: it is the first call that needs an answer from MLflow.
        is_known = writer.knows_sweep()
        self._tried.set()
        if not is_known and any(batch.events for batch in self._reader.before(_EVENTS_PER_BATCH)):
            # The store is another one, or was deleted: all events are sent again.
            self._warn("MLflow: nothing of the sweep was there; all of it is sent again")
            self._reader.commit(0)
        self._mend(writer)
        return writer

    def _mend(self, writer: RunWriter) -> None:
        """Make the view again and send what MLflow lacks of it, a part of the events at a time."""
        view = self._view = SweepView(self._outbox.identity)
        lacking: set[int | None] = set()
        for batch in self._reader.before(_EVENTS_PER_BATCH):
            self._apply(batch.events, view)
            lacking.update(writer.lacking(view.take_ended()))
        lacking.update(writer.lacking(view.take_changes()))
        again = SweepView(self._outbox.identity)
        for batch in self._reader.before(_EVENTS_PER_BATCH) if lacking else ():
            self._apply(batch.events, again)
            changes = [change for change in again.take_changes() if change.run.trial in lacking]
            if not self._write(writer, changes, again.sweep_run):
                return
        writer.mended()

    def _apply(self, events: Sequence[Mapping[str, Any]], view: SweepView) -> None:
        for event in events:
            try:
                view.apply(event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # Retrying would not help, and this event must not hold up later ones.
                self._refusals.append(f"event {event.get('kind')!r}: {error!r}")

    def _fail(self, error: Exception) -> None:
        # The view is ahead of the reader, and the writer may lack runs: both are made again.
        self._writer = None
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_BACKOFF_S)
        self._begin_outage(self._describe(error))
        self._tried.set()

    def _begin_outage(self, text: str) -> None:
        was_away = self._outage is not None
        self._outage = text
        if not was_away:
            self._warn(f"{text}; {_GOES_ON}")


def stop_limit_s(store: TrackingStore) -> float:
    """Seconds that `MlflowSender.stop` waits for what is being sent to a store."""
    return _STOP_S if store.database is None else _FILE_STOP_S


def mlflow_sender(
    outbox: Outbox,
    store: TrackingStore,
    data_set: str,
    warn: Callable[[str], None] = lambda _: None,
) -> MlflowSender:
    """Sender of a sweep's events to MLflow.

    Imports MLflow (seconds) before the thread starts: two threads that import large packages at
    once can see each other's half-imported modules, and the main thread imports Ray meanwhile.

    Args:
        outbox: The sweep's outbox.
        store: Where MLflow keeps runs.
        data_set: Name of the data, which names the experiment.
        warn: Takes a line when an outage begins, and about what MLflow had lost; called on the
            sender's thread, or by its `start`.
    """
    with importing():
        load_mlflow()
        from orchestrator.tracking import writer as mlflow_writer
        from orchestrator.tracking.faults import outage_text

    def open_writer(refuse: Callable[[str], None]) -> RunWriter:
        return mlflow_writer.MlflowWriter(
            mlflow_writer.connect(store),
            store.artifact_root,
            experiment_name(data_set),
            outbox.identity,
            refuse,
            warn,
        )

    def describe(error: Exception) -> str:
        return outage_text(error, store.uri)

    position_path = outbox.path.with_name(f"{outbox.path.stem}.{store.short_name}.position")
    first_answer_s = _FIRST_ANSWER_S if store.is_server else 0.0
    return MlflowSender(outbox, open_writer, describe, position_path, warn, first_answer_s)
