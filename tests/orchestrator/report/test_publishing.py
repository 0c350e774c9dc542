"""The report at the end of a sweep: beside its trials and on its run, and never in the way."""

import json
from pathlib import Path

import pytest

from orchestrator.report import publishing
from orchestrator.report.publishing import publish
from orchestrator.tracking.tags import NOTE_TAG
from orchestrator.tracking.view import SweepView
from tests.orchestrator.helpers import ListSink
from tests.orchestrator.report.sweeps import LADDER, run


@pytest.mark.usefixtures("drawn_figures")
def test_it_lies_beside_the_trials_and_goes_to_the_tracker(tmp_path: Path) -> None:
    run(tmp_path, LADDER, "ablation.seeds=2")
    sink, warned = ListSink(), list[str]()
    page = publish(tmp_path, "small", str(tmp_path), sink, warned.append)
    assert warned == []
    assert page is not None
    folder = tmp_path / "small"
    names = ("report.html", "report.json", "report.md")
    assert sorted(file.name for file in folder.glob("report.*")) == list(names)
    assert Path(page.removeprefix("file://")) == folder / "report.html"
    (event,) = sink.events
    json.dumps(event)
    view = SweepView("id")
    view.apply({"kind": "sweep_started", "sweep": "small", "question": "Which?", "timestamp_ms": 1})
    view.apply(event)
    (change,) = view.take_changes()
    assert {name: change.texts[name] for name in names} == {
        name: (folder / name).read_text(encoding="utf-8") for name in names
    }
    assert json.loads(change.texts["report.json"])["answer"] in change.tags[NOTE_TAG]


def test_an_error_is_shown_and_hurts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, LADDER, "ablation.seeds=2")

    def broken(*_: object) -> str:
        raise ValueError("no ink")

    monkeypatch.setattr(publishing, "render", broken)
    sink, warned = ListSink(), list[str]()
    assert publish(tmp_path, "small", str(tmp_path), sink, warned.append) is None
    assert sink.events == []
    (line,) = warned
    again = f"`prvr-sweep report small --home {tmp_path}` makes it"
    assert line == f"the report was not written: ValueError: no ink; {again}"
    assert not list((tmp_path / "small").glob("report.*"))
