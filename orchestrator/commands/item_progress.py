"""Progress on stderr: a bar on a terminal, else a line from time to time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeAlias

import click

from orchestrator.base.text import duration_text

_LINE_EVERY_S = 5.0
_REFRESHES_PER_S = 4

Display: TypeAlias = Callable[[str, int, int, float], None]
"""Shows a text, how much is done of how much, and takes the time of a monotonic clock."""


class ItemProgress:
    """Counts items and what they hold, and says how fast that goes.

    Args:
        total: Number of items.
        begun_with: Items that were done before.
        names: Names of items and of what is counted in them, e.g. `videos` and `frames`.
        show: Takes the text, and the number of items that are done.
        clock: Monotonic time in seconds.
    """

    # Five: what is counted, and where it goes.
    def __init__(
        self,
        total: int,
        begun_with: int,
        names: tuple[str, str],
        show: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._before = self._done = begun_with
        self._names = names
        self._show = show
        self._clock = clock
        self._begun = clock()
        self._counted = 0

    def __call__(self, count: int) -> None:
        """One more item is done, which held `count`."""
        self._done += 1
        self._counted += count
        self._show(self.text(), self._done)

    def text(self) -> str:
        """How far it is, how fast it goes, and how long it will take."""
        elapsed = max(self._clock() - self._begun, 1e-9)
        items, parts = self._names
        text = f"{self._done} of {self._total} {items}, {self._counted / elapsed:.0f} {parts}/s"
        if here := self._done - self._before:
            left_s = elapsed / here * (self._total - self._done)
            text += f", {duration_text(left_s)} left"
        return text


@contextmanager
def item_progress(
    stream: TextIO, total: int, begun_with: int, names: tuple[str, str]
) -> Iterator[ItemProgress]:
    """Show progress over many items on a stream while the block runs."""
    with progress_display(stream, time.monotonic()) as display:
        yield ItemProgress(
            total,
            begun_with,
            names,
            lambda text, done: display(text, done, total, time.monotonic()),
        )


@contextmanager
def progress_display(stream: TextIO, begun: float, first_text: str = "") -> Iterator[Display]:
    """What shows progress on a stream; a bar leaves the screen with the block.

    Args:
        stream: The stream.
        begun: Time at the beginning, of the clock that calls give.
        first_text: What a bar shows before the first call.
    """
    if not stream.isatty():
        yield _Lines(stream, begun)
        return
    # rich is loaded only where its bars are seen.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bars = Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.fields[text]}"),
        console=Console(file=stream, highlight=False, markup=False, emoji=False),
        refresh_per_second=_REFRESHES_PER_S,
        redirect_stdout=False,
        transient=True,
    )
    task = bars.add_task("", total=None, text=first_text)
    with bars:
        yield lambda text, done, total, now: bars.update(
            task, completed=done, total=total, text=text
        )


class _Lines:
    """Plain lines, not many; always one at the end."""

    def __init__(self, stream: TextIO, begun: float) -> None:
        self._stream = stream
        self._last = begun

    def __call__(self, text: str, done: int, total: int, now: float) -> None:
        if now - self._last >= _LINE_EVERY_S or done == total:
            self._last = now
            click.echo(text, file=self._stream)
