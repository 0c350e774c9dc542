"""Tracker and user are told each thing about a trial once."""

from pathlib import Path

import pytest

from orchestrator.study.trial import TrialRequest, TrialState
from orchestrator.sweep import trial_teller
from orchestrator.sweep.context import SafeSink
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.trial_teller import TrialTeller
from orchestrator.tracking.missing_events import Told
from prvr_model.reporting import EpochReport
from tests.orchestrator.helpers import ListSink, new_searcher, new_study, small_spec


class Shown(SilentProgress):
    """Keeps the epochs that were shown."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def epoch(self, number: int, epoch: int, value: float) -> None:
        self.epochs.append(epoch)


def teller_of(sink: ListSink, shown: Shown, told: Told) -> TrialTeller:
    return TrialTeller(SafeSink(sink, shown.warn), shown, {"code": "1"}, told)


def report(epoch: int) -> EpochReport:
    return EpochReport(epoch, {"val/SumR": float(epoch)}, 1000 + epoch)


def told_epochs(*epochs: int) -> Told:
    return Told.of(
        {"kind": "epoch", "number": 0, "epoch": epoch, "metrics": {}, "timestamp_ms": epoch}
        for epoch in epochs
    )


def first_request(home: Path) -> TrialRequest:
    spec = small_spec()
    request = new_searcher(new_study(home, spec), spec).next()
    assert isinstance(request, TrialRequest)
    return request


def test_an_epoch_is_sent_once_and_shown_if_the_study_did_not_know_it() -> None:
    sink, shown = ListSink(), Shown()
    teller = teller_of(sink, shown, told_epochs(1))
    for epoch, is_new in ((1, False), (2, False), (2, False), (3, True)):
        teller.epoch(0, report(epoch), float(epoch), is_new=is_new)
    assert [event["epoch"] for event in sink.events] == [2, 3]
    assert shown.epochs == [3]


def test_missing_epochs_are_sent_from_the_checkpoint_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_teller, "checkpoint_rows", lambda _: [report(3), report(2)])
    sink = ListSink()
    teller = teller_of(sink, Shown(), told_epochs(1))
    assert teller.catch_up(first_request(tmp_path), {1, 2, 3})
    assert [event["epoch"] for event in sink.events] == [2, 3]


def test_an_epoch_that_no_checkpoint_has_must_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_teller, "checkpoint_rows", lambda _: [report(2)])
    sink = ListSink()
    teller = teller_of(sink, Shown(), told_epochs(1))
    assert not teller.catch_up(first_request(tmp_path), {1, 2, 3})
    assert sink.events == []


def test_no_checkpoint_is_read_if_the_tracker_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_teller, "checkpoint_rows", lambda _: pytest.fail("was read"))
    assert teller_of(ListSink(), Shown(), told_epochs(1, 2)).catch_up(
        first_request(tmp_path), {1, 2}
    )


def test_an_end_has_the_time_of_the_study(tmp_path: Path) -> None:
    spec = small_spec()
    study = new_study(tmp_path, spec)
    assert new_searcher(study, spec).next() is not None
    study.record_epoch(0, 1, 5.0, 1001, is_judged=False)
    study.tell_complete(0)
    sink, trial = ListSink(), study.summary(0)
    teller_of(sink, Shown(), Told()).ended(trial)
    (event,) = sink.events
    assert trial.state is TrialState.COMPLETE
    assert (event["kind"], event["timestamp_ms"]) == ("trial_ended", trial.ended_ms)
