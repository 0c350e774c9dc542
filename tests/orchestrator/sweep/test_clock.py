"""With a clock that always goes backwards, order follows epochs and events, never times."""

import io
import time
from itertools import count
from pathlib import Path

import pytest

from orchestrator.commands.status_text import render_status
from orchestrator.study.trial import TrialState
from orchestrator.sweep.progress import LogProgress
from orchestrator.sweep.status import read_status
from orchestrator.tracking.outbox import Outbox, OutboxReader
from orchestrator.tracking.store import TrackingStore
from tests.orchestrator.helpers import FINGERPRINT, run_sweep, small_spec
from tests.orchestrator.tracking.reading import content_of, send


def test_a_clock_that_goes_backwards(
    home: Path,
    store: TrackingStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = count()
    outbox = Outbox(home / "outbox" / "small.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: 10**18 - 3_600_000_000_000 * next(hours))
        result = run_sweep(
            small_spec("search.trials=3"),
            Path("/store"),
            FINGERPRINT,
            home,
            sink=outbox,
            progress=LogProgress(io.StringIO()),
            executor="inline",
            function="tests.orchestrator.sweep.faulty_trials:back_in_time",
        )
    assert result.counts[TrialState.COMPLETE] == 3
    assert result.tracking_errors == ()
    assert render_status(read_status(home, "small")).startswith("small: finished; 3 complete")

    events = OutboxReader(outbox, home / "position").read(1000).events
    epochs = [(event["number"], event["epoch"]) for event in events if event["kind"] == "epoch"]
    assert epochs == [(trial, epoch) for trial in range(3) for epoch in (1, 2, 3)]
    assert (events[0]["kind"], events[-1]["kind"]) == ("sweep_started", "sweep_ended")

    send(outbox, store)
    content = content_of(store, outbox)
    for trial in range(3):
        run = content[str(trial)]
        assert run["status"] == "FINISHED"
        rows = run["metrics"]["val/SumR"]
        assert [step for step, _, _ in rows] == [1, 2, 3]
        assert [value for _, _, value in rows] == sorted(value for _, _, value in rows)
    outbox.close()
