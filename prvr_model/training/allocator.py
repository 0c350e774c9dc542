"""How this process's C library keeps memory that is freed."""

import ctypes

# Numbers of the options in malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = -1


def keep_freed_blocks() -> bool:
    """Have memory that is freed used again, never given back to the system.

    By itself the GNU C library gives back every block above some megabytes, and the system zeroes
    its pages when the next step asks for it: that took a third of a training step's time.

    Returns:
        Whether the C library took the options; others have none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))


def release_freed_blocks() -> None:
    """Give what was kept back to the system, e.g. at the end of a trial."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
