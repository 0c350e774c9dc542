"""Python's collector of garbage, held off while something runs that it would disturb."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
# Blocks that run, on any thread, and whether it was on before the first of them.
_blocks = 0
_was_on = False


@contextmanager
def collector_off() -> Iterator[None]:
    """Let no thread collect while the block runs; the last of several blocks turns it on again."""
    global _blocks, _was_on
    with _lock:
        if not _blocks:
            _was_on = gc.isenabled()
            gc.disable()
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks and _was_on:
                gc.enable()
