"""Progress: one line that is rewritten on a terminal, a line now and then elsewhere."""

import io

from orchestrator.study.trial import FailureCause, TrialState
from orchestrator.sweep.progress import StreamProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def begun(stream: io.StringIO, clock: Clock, maximize: bool = True) -> StreamProgress:
    progress = StreamProgress(stream, clock)
    progress.begin(4, 10, maximize)
    progress.started(0)
    return progress


def test_log_gets_few_lines_with_all_counts() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = begun(stream, clock)
    progress.started(1)
    progress.epoch(1, 5, 42.0)
    clock.now_s += 20
    progress.ended(0, TrialState.PRUNED, None)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "0/4 trials | 1 running"
    assert lines[1] == "1/4 trials | 1 running | 1 pruned | best 42 (trial 1) | about 33 s left"
    assert len(lines) == 3


def test_terminal_gets_one_line_rewritten() -> None:
    stream, clock = Terminal(), Clock()
    progress = begun(stream, clock)
    for epoch in range(1, 4):
        clock.now_s += 1
        progress.epoch(0, epoch, float(epoch))
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().count("\r") == 4
    progress.close()
    assert stream.getvalue().endswith("\n")


def test_failure_is_told_at_once_with_its_first_line() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = begun(stream, clock)
    cause = FailureCause("ValueError", "too large\nby far", "trace")
    progress.ended(0, TrialState.FAILED, cause)
    assert "trial 0 failed: ValueError: too large\n" in stream.getvalue()


def test_smaller_is_better_when_minimizing() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = begun(stream, clock, maximize=False)
    for value in (3.0, 1.0, 2.0):
        progress.epoch(0, 1, value)
    progress.close()
    assert "best 1 (trial 0)" in stream.getvalue()


def test_long_times_are_readable() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = begun(stream, clock)
    clock.now_s += 1800
    progress.ended(0, TrialState.COMPLETE, None)
    assert "about 1 h 30 min left" in stream.getvalue()
