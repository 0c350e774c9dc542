"""Tags by which the runs of an ablation are found, also after its outbox was lost."""

from pathlib import Path

import pytest

from orchestrator.commands.status_text import render_status
from orchestrator.spec.loading import read_spec
from orchestrator.study.reader import StudyReader
from orchestrator.study.storage import set_study_attributes
from orchestrator.study.study import study_url
from orchestrator.sweep.status import read_status
from orchestrator.tracking.outbox import Outbox, read_events
from orchestrator.tracking.outbox_rebuild import rebuild_outbox
from orchestrator.tracking.view import SweepView
from tests.orchestrator.helpers import FINGERPRINT, run_sweep

_TABLE = """\
name: table
question: Which margin?
data: builtin
settings: {training.epochs: 2, optimizer.schedule_epochs: 2, losses.hard_negative_epoch: null}
ablation:
  design: swap
  baseline: {name: published}
  variants:
    wide: {losses.margin: 0.3}
  seeds: [4, 9]
"""
_NAMES = ("variant", "seed", "block", "protocol", "design", "baseline")


def tags_in(outbox: Path) -> dict[int | None, dict[str, str]]:
    """Of each run, by trial, what a user looks for."""
    view = SweepView("id")
    box = Outbox(outbox)
    for event in box.events():
        view.apply(event)
    box.close()
    return {
        change.run.trial: {name: text for name, text in change.tags.items() if name in _NAMES}
        for change in view.take_changes()
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ablation of two rows and two seeds that trains nothing."""
    home = tmp_path_factory.mktemp("home")
    outbox = Outbox(home / "outbox" / "table.jsonl")
    run_sweep(
        read_spec(_TABLE, (), "table.yaml", home),
        "/store",
        FINGERPRINT,
        home,
        sink=outbox,
        executor="inline",
        function="tests.orchestrator.executors.fake_trials:rising",
        outbox_id=outbox.identity,
    )
    outbox.close()
    return home


def test_runs_are_found_by_row_seed_and_block_and_the_sweep_by_its_design(home: Path) -> None:
    tags = tags_in(home / "outbox" / "table.jsonl")
    protocol = {"protocol": "validation"}
    assert tags[None] == protocol | {"design": "swap", "baseline": "published"}
    found = {
        (run["variant"], run["seed"], run["block"])
        for trial, run in tags.items()
        if trial is not None
    }
    rows, blocks = ("published", "wide"), (("4", "0"), ("9", "1"))
    assert found == {(row, *block) for row in rows for block in blocks}
    assert all(protocol.items() <= run.items() for run in tags.values())


def test_a_lost_outbox_comes_again_with_the_same_tags(home: Path) -> None:
    path = home / "outbox" / "table.jsonl"
    before = tags_in(path)
    path.unlink()
    rebuild_outbox(path, StudyReader.open(study_url(home), "table"), home)
    assert tags_in(path) == before


def test_a_lost_outbox_names_data_user_and_versions_again(home: Path) -> None:
    path, url = home / "outbox" / "table.jsonl", study_url(home)
    versions = [{"number": 0, "model": "prvr-data", "version": "1", "model_id": "", "epoch": 2}]
    set_study_attributes(url, "table", {"registered": versions})
    before = read_events(path, 0, path.stat().st_size, None).events
    path.unlink()
    rebuild_outbox(path, StudyReader.open(url, "table"), home)
    after = read_events(path, 0, path.stat().st_size, None).events
    [started], [started_again] = (
        [event for event in events if event["kind"] == "sweep_started"]
        for events in (before, after)
    )
    assert started_again["data"] == started["data"]
    assert started["data"]["fingerprint"] == FINGERPRINT
    assert started_again["tags"]["mlflow.user"] == started["tags"]["mlflow.user"]
    assert [event["versions"] for event in after if event["kind"] == "registered"] == [versions]


def test_status_prints_a_filter_for_each_row(home: Path) -> None:
    status = read_status(home, "table")
    text = "tags.variant = 'wide' AND tags.`prvr.sweep` = 'table'"
    assert f"  wide       {text}" in render_status(status)
    assert status.to_dict()["filters"]["wide"] == text
