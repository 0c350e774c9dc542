"""The printed filters find the runs of their row, in a real store."""

from pathlib import Path

from orchestrator.commands.status_text import filter_lines
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.run_filters import variant_filters
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.writer import connect
from tests.orchestrator.tracking.fake_sweep import START_MS, sweep_started
from tests.orchestrator.tracking.reading import EXPERIMENT, send

ROWS = ("baseline", "+ TCPL", "tau's", 'the "full" one', 'it\'s "both"', "50 %")


def test_a_filter_for_each_row_finds_its_runs_and_no_others(
    store: TrackingStore, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "ladder.jsonl")
    outbox.append(sweep_started("ladder"))
    for number in range(2 * len(ROWS)):
        block, row = divmod(number, len(ROWS))
        fields = {"variant": ROWS[row], "block": block, "seed": block + 1}
        event = {"kind": "trial_started", "number": number, "timestamp_ms": START_MS}
        outbox.append(event | fields)
    outbox.append({"kind": "trial_started", "number": 99, "timestamp_ms": START_MS})
    send(outbox, store)
    outbox.close()
    client = connect(store)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = {}
    for row, text in variant_filters("ladder", ROWS).items():
        runs = client.search_runs([experiment.experiment_id], text)
        found[row] = sorted((run.data.tags["seed"], run.data.tags["variant"]) for run in runs)
    assert found == {row: [("1", row), ("2", row)] for row in ROWS}
    (other,) = variant_filters("another", ROWS[:1]).values()
    assert client.search_runs([experiment.experiment_id], other) == []


def test_a_search_has_no_such_lines() -> None:
    assert filter_lines("cbva", ()) == []
    assert filter_lines("ladder", ["a", "a", "bb"])[1:] == [
        "  a   tags.variant = 'a' AND tags.`prvr.sweep` = 'ladder'",
        "  bb  tags.variant = 'bb' AND tags.`prvr.sweep` = 'ladder'",
    ]
