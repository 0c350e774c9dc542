"""Progress: bars on a terminal, a line now and then elsewhere."""

import io
import re
import subprocess
import sys

import pytest

from orchestrator.study.trial import FailureCause, TrialState, TrialSummary
from orchestrator.sweep.progress import LogProgress, progress_on
from orchestrator.sweep.terminal_progress import TerminalProgress


class Broken(io.StringIO):
    """What nobody reads any more."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def begun(stream: io.StringIO, clock: Clock, maximize: bool = True) -> LogProgress:
    progress = LogProgress(stream, clock)
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


def earlier(number: int, state: TrialState, value: float, epochs: int) -> TrialSummary:
    return TrialSummary(number, state, {}, value, epochs, epochs, "", "")


EARLIER = (
    earlier(0, TrialState.COMPLETE, 7.0, 10),
    earlier(1, TrialState.PRUNED, 9.0, 2),
    earlier(2, TrialState.FAILED, 1.0, 1),
    earlier(3, TrialState.RUNNING, 5.0, 5),
)


@pytest.mark.parametrize(("maximize", "best"), [(True, "9 (trial 1)"), (False, "1 (trial 2)")])
def test_a_resumed_sweep_counts_what_earlier_drivers_did(maximize: bool, best: str) -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LogProgress(stream, clock)
    progress.begin(6, 10, maximize)
    progress.resumed(EARLIER)
    progress.started(3)
    clock.now_s += 20
    progress.epoch(3, 6, 5.0)
    first, second = stream.getvalue().splitlines()
    assert first == f"3/6 trials | 1 running | 1 pruned | 1 failed | best {best}"
    # A tenth of a trial took this driver 20 s; 2.4 trials are left.
    assert second == f"{first} | about 8 min 00 s left"


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns that understands cursor movements."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def on_terminal(stream: io.StringIO, clock: Clock) -> TerminalProgress:
    progress = TerminalProgress(stream, clock)
    progress.begin(4, 10, True)
    return progress


def drawn_lines(stream: io.StringIO) -> list[str]:
    """Every line that was drawn, in order, without colours and cursor movements."""
    lines: list[str] = []
    for piece in stream.getvalue().split("\x1b[2K"):
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", piece)
        lines += [line.strip() for line in text.splitlines() if line.strip()]
    return lines


@pytest.mark.usefixtures("columns")
def test_a_terminal_shows_the_sweep_and_each_running_trial() -> None:
    stream, clock = Terminal(), Clock()
    progress = on_terminal(stream, clock)
    progress.started(0)
    progress.started(1)
    clock.now_s += 10
    progress.epoch(1, 5, 42.0)
    progress.epoch(1, 6, 41.0)
    progress.ended(0, TrialState.PRUNED, None)
    progress._bars.refresh()
    lines = drawn_lines(stream)
    sweep, trial = lines[-2:]
    assert sweep.startswith("1 of 4 trials")
    assert sweep.endswith("about 15 s left, best 42 (trial 1), 1 pruned")
    assert trial.startswith("trial 1")
    assert trial.endswith("epoch 6 of 10, 41, best 42")
    progress.close()


@pytest.mark.usefixtures("columns")
def test_the_bars_of_a_resumed_sweep_begin_where_it_was() -> None:
    stream = Terminal()
    progress = TerminalProgress(stream, Clock())
    progress.begin(6, 10, True)
    progress.resumed(EARLIER)
    progress.started(3)
    progress._bars.refresh()
    sweep, trial = drawn_lines(stream)[-2:]
    assert sweep.startswith("3 of 6 trials")
    assert sweep.endswith("best 9 (trial 1), 1 pruned, 1 failed")
    assert trial.endswith("continues after epoch 5 of 10")
    progress.close()


@pytest.mark.usefixtures("columns")
def test_lines_for_the_user_stand_above_the_bars() -> None:
    stream, clock = Terminal(), Clock()
    progress = on_terminal(stream, clock)
    progress.started(3)
    cause = FailureCause("ValueError", "[too] large\nby far", "trace")
    progress.ended(3, TrialState.FAILED, cause)
    progress.close()
    lines = drawn_lines(stream)
    assert "trial 3 failed: ValueError: [too] large" in lines
    assert lines[-1].startswith("1 of 4 trials")
    # The cursor that was hidden is shown again, and the prompt begins on a line of its own.
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")


def test_a_log_needs_no_bars() -> None:
    assert isinstance(progress_on(io.StringIO()), LogProgress)
    assert isinstance(progress_on(Terminal()), TerminalProgress)
    script = "import orchestrator.sweep.progress, sys; print('rich' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_sweep_goes_on_when_nobody_reads(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broken, "isatty", lambda _: is_terminal)
    monkeypatch.setenv("TERM", "xterm")
    progress = progress_on(Broken())
    progress.begin(1, 1, True)
    progress.started(0)
    progress.epoch(0, 1, 1.0)
    progress.ended(0, TrialState.COMPLETE, None)
    progress.close()


def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_on(Terminal()), LogProgress)


def test_without_colours_in_60_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    progress = progress_on(terminal)
    progress.begin(4, 10, True)
    progress.started(0)
    progress.epoch(0, 5, 42.0)
    progress.close()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.getvalue())
    lines = re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= 60
