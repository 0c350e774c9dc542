"""How this process's C library keeps memory that is freed."""

import ctypes

# Numbers of the options in malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = -1


def keep_freed_blocks() -> bool:
    """Make the C library reuse freed memory and never give it back to the system.

    By default the GNU C library gives back every block above some megabytes, and the system zeroes
    its pages when the next step allocates it: that took a third of a training step's time.

    Returns:
        Whether the options were set; only the GNU C library has them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))


def release_freed_blocks() -> None:
    """Give the kept memory back to the system, e.g. at the end of a trial or of a search."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
