"""Progress of an import on stderr; its rate is that of bytes, as videos differ from captions."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.base.text import duration_text
from orchestrator.commands.item_progress import progress_display

if TYPE_CHECKING:
    from prvr_model.store.importers.corpus import Reading

_MIB = 2**20


@contextmanager
def import_progress(
    clock: Callable[[], float] = time.monotonic,
) -> Iterator["Callable[[Reading], None]"]:
    """What shows how far an import is, while the block runs."""
    begun = clock()
    with progress_display(sys.stderr, begun, "checking features") as display:

        def show(reading: "Reading") -> None:
            now = clock()
            text = reading_text(reading, now - begun)
            display(text, reading.num_bytes, reading.all_bytes, now)

        yield show


def reading_text(reading: "Reading", seconds: float) -> str:
    """Items done, rate, and time left.

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
