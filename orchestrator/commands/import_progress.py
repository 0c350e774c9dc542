"""Progress of an import on stderr: a bar on a terminal, else a line from time to time."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from orchestrator.base.text import duration_text

if TYPE_CHECKING:
    from prvr_model.store.importers.corpus import Reading

_LINE_EVERY_S = 5.0
_MIB = 2**20


@contextmanager
def import_progress(
    clock: Callable[[], float] = time.monotonic,
) -> Iterator["Callable[[Reading], None]"]:
    """What shows how far an import is; a bar leaves the screen with the block."""
    if not sys.stderr.isatty():
        yield ImportLines(clock)
        return
    # rich is loaded only where its bars are seen.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20))
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        bar = bars.add_task("checking features", total=None)
        begin = clock()

        def show(reading: "Reading") -> None:
            text = reading_text(reading, clock() - begin)
            bars.update(bar, description=text, completed=reading.num_bytes, total=reading.all_bytes)

        yield show


class ImportLines:
    """Prints a line every few seconds, and one at the end."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin = self._last = clock()

    def __call__(self, reading: "Reading") -> None:
        """Take note of one more item."""
        now = self._clock()
        if now - self._last >= _LINE_EVERY_S or reading.items == reading.all_items:
            self._last = now
            click.echo(reading_text(reading, now - self._begin), err=True)


def reading_text(reading: "Reading", seconds: float) -> str:
    """Items done, rate, and time left; the rate is that of bytes, as videos differ from captions.

    Args:
        reading: How far the import is.
        seconds: Time since the first item.
    """
    text = f"read {reading.items} of {reading.all_items} videos and captions"
    if not seconds or not reading.num_bytes:
        return text
    rate = reading.num_bytes / seconds
    text += f", {rate / _MIB:.1f} MiB/s"
    if reading.items == reading.all_items:
        return text
    return f"{text}, {duration_text((reading.all_bytes - reading.num_bytes) / rate)} left"
