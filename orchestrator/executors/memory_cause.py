"""Out of memory as one cause, whoever could not allocate: Python, numpy, the CPU or the GPU."""

import re

OUT_OF_MEMORY = "OutOfMemoryError"
"""Kind of the cause."""
# torch raises a class of this name for a GPU, and plain RuntimeErrors for the CPU and in cuBLAS.
_TEXT = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.I)
_REMEDY = (
    "the trial needs more memory than was left. Fewer trials at once help (concurrency, or more "
    "resources.cpus or resources.gpus for each), and so do micro-batches "
    "(speed.micro_batch_videos, or speed.on_out_of_memory: micro_batches, which keep the loss of "
    "the whole batch) and smaller batches (training.batch_videos, which changes results)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    if isinstance(error, MemoryError) or type(error).__name__ == OUT_OF_MEMORY:
        return True
    return isinstance(error, RuntimeError) and bool(_TEXT.search(str(error)))


def memory_message(error: BaseException) -> str:
    """What happened and what to do, the error's own first line at the end."""
    lines = str(error).strip().splitlines()
    return f"{_REMEDY}: {lines[0] if lines else type(error).__name__}"
