"""How this process's C library keeps memory that is freed."""

import ctypes

# Number of the option in malloc.h of the GNU C library.
_MMAP_THRESHOLD = -3
# Activations are larger; what is smaller is reused at once.
_LARGE_BYTES = 1 << 20


def return_large_blocks() -> bool:
    """Have blocks of a megabyte and more given back to the system as soon as they are freed.

    By itself the GNU C library keeps blocks of up to 32 MiB in a heap that fills with holes: a
    training step then takes half as much memory again as it holds at any time.

    Returns:
        Whether the C library took the option; others have none and need none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))
