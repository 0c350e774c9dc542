"""Progress of a sweep on a terminal: a bar for the sweep, and one for each running trial."""

import time
from collections.abc import Callable, Iterable
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from orchestrator.study.trial import FailureCause, TrialState, TrialSummary
from orchestrator.sweep.tally import Tally, failure_line

# The eye follows a few pictures a second; more would only cost time beside the trials.
_REFRESHES_PER_S = 4
# Leaves the texts beside it room on 80 columns.
_BAR_WIDTH = 12


class TerminalProgress:
    """Bars that are redrawn in place; lines for the user appear above them.

    Args:
        stream: The terminal.
        clock: Monotonic time in seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR_WIDTH),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            refresh_per_second=_REFRESHES_PER_S,
            get_time=clock,
            # stdout carries the command's result and is left alone; other output on stderr
            # appears above the bars.
            redirect_stdout=False,
        )
        self._tally = Tally(clock)
        self._sweep = self._bars.add_task("", total=None, text="")
        self._trials: dict[int, TaskID] = {}
        self._best_of: dict[int, float] = {}

    def begin(self, num_trials: int, max_epochs: int, maximize: bool) -> None:
        """See `Progress`."""
        self._tally.num_trials = num_trials
        self._tally.max_epochs = max_epochs
        self._tally.maximize = maximize

    def resumed(self, trials: Iterable[TrialSummary]) -> None:
        """See `Progress`."""
        self._tally.resumed(trials)

    def started(self, number: int) -> None:
        """See `Progress`."""
        tally = self._tally
        tally.started(number)
        epoch = tally.running[number]
        text = f"continues after epoch {epoch} of {tally.max_epochs}" if epoch else "begins"
        self._trials[number] = self._bars.add_task(
            f"trial {number}", total=tally.max_epochs, completed=epoch, text=text
        )
        self._show()
        self._bars.start()

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """See `Progress`."""
        tally = self._tally
        tally.epoch(number, epoch, value)
        best = self._best_of.get(number)
        if best is None or tally.is_better(value, best):
            best = self._best_of[number] = value
        text = f"epoch {epoch} of {tally.max_epochs}, {value:.4g}, best {best:.4g}"
        self._bars.update(self._trials[number], completed=epoch, text=text)
        self._show()

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        """See `Progress`; a failure gets a line of its own."""
        self._tally.finished(number, state)
        self._best_of.pop(number, None)
        if (bar := self._trials.pop(number, None)) is not None:
            self._bars.remove_task(bar)
        if cause is not None:
            self.warn(failure_line(number, cause))
        self._show()

    def warn(self, message: str) -> None:
        """See `Progress`."""
        self._console.print(message, soft_wrap=True)

    def close(self) -> None:
        """See `Progress`; the bar of the sweep stays on the screen."""
        for bar in self._trials.values():
            self._bars.remove_task(bar)
        self._trials.clear()
        self._show()
        self._bars.stop()
        self._tally = Tally(self._tally.clock)

    def _show(self) -> None:
        tally = self._tally
        # A narrow terminal cuts the end off, so what matters least comes last.
        self._bars.update(
            self._sweep,
            description=f"{tally.num_ended} of {tally.num_trials} trials",
            total=tally.num_trials,
            completed=tally.num_done,
            text=", ".join([*tally.left(), *tally.best_text(), *tally.cut_short()]),
        )
