"""The executor of this process keeps the contract."""

import os
import signal

import pytest

from orchestrator.executors.inline_executor import InlineExecutor
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.wire import (
    report_from_json,
    report_to_json,
    request_from_json,
    request_to_json,
)
from orchestrator.study.trial import TrialRequest
from prvr_model.reporting import Decision, EpochReport, Report
from tests.orchestrator.executors.executor_contract import (
    ExecutorContract,
    RecordingSource,
    request,
)


class TestInlineExecutor(ExecutorContract):
    make = InlineExecutor
    exit_kind = "SystemExit"


def interrupt_in_training(request: TrialRequest, report: Report) -> None:
    report(EpochReport(1, {"val/SumR": 1.0}, 1))
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError("Ctrl-C did not end the training")


class InterruptedSource(RecordingSource):
    """Ctrl-C comes while the source writes an epoch."""

    def on_report(self, number: int, report: EpochReport) -> Decision:
        os.kill(os.getpid(), signal.SIGINT)
        return super().on_report(number, report)


def test_interrupt_ends_training_at_once_and_tells_nothing_of_the_trial() -> None:
    source = RecordingSource([0, 1])
    executor = InlineExecutor(
        "tests.orchestrator.executors.test_inline_executor:interrupt_in_training"
    )
    with Interruption().listening() as interruption, pytest.raises(KeyboardInterrupt):
        executor.run(source, None, interruption)
    assert source.calls == {0: ["begin", "report"]}


def test_interrupt_waits_until_the_source_has_written() -> None:
    source = InterruptedSource([0, 1])
    with Interruption().listening() as interruption, pytest.raises(KeyboardInterrupt):
        InlineExecutor("tests.orchestrator.executors.fake_trials:rising").run(
            source, None, interruption
        )
    assert source.calls == {0: ["begin", "report"]}


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption().listening():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_request_and_report_survive_the_way_to_another_process() -> None:
    sent = request(3)
    assert request_from_json(request_to_json(sent)) == sent
    row = EpochReport(2, {"val/SumR": 0.1 + 0.2}, 17)
    assert report_from_json(report_to_json(row)) == row


def test_who_does_not_listen_takes_no_signal() -> None:
    before = signal.getsignal(signal.SIGINT)
    interruption = Interruption()
    interruption.listen_again()
    assert signal.getsignal(signal.SIGINT) is before
    with interruption.listening():
        interruption.listen_again()
        assert signal.getsignal(signal.SIGINT) is not before
    interruption.listen_again()
    assert signal.getsignal(signal.SIGINT) is before
