"""What the benchmarks share: seconds, peak memory, the machine's rate of products, output."""

import argparse
import ctypes
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

from prvr_model.inputs.processor import use_fast_products

# The product whose rate is the yardstick of all figures, and how often it is taken.
_GEMM_SHAPE = (4096, 384, 1536)
_GEMM_REPEATS, _GEMM_WARM_UPS = 20, 3
# More than any processor's cache.
_COPIED_BYTES, _COPIES = 1 << 27, 5
# Written to clear_refs it resets the kernel's mark of peak memory.
_RESET_PEAK = "5"

_Result = TypeVar("_Result")


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse with the options that every benchmark has, and set the threads."""
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="threads (default: all cores)")
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    torch.manual_seed(0)
    return parsed


def show(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Print a result with its workload and what it was measured on."""
    sizes = {name: value for name, value in vars(options).items() if name != "json"}
    load = round(os.getloadavg()[0], 2)
    whole = {**result, **sizes, "torch": torch.__version__, "load_average": load}
    if options.json:
        print(json.dumps(whole, default=str))
    else:
        print("\n".join(f"{name}: {value}" for name, value in whole.items()))


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Median time of some runs."""
    return statistics.median(_once(work) for _ in range(repeats))


def _once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def gemm_gflops(dtype: torch.dtype = torch.float32) -> float:
    """Rate of a product of the published model's shape, in 10^9 operations a second."""
    use_fast_products()
    rows, inner, columns = _GEMM_SHAPE
    left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)

    def work() -> None:
        left @ right

    for _ in range(_GEMM_WARM_UPS):
        work()
    return 2 * rows * inner * columns / seconds(work, _GEMM_REPEATS) / 1e9


def copy_rate() -> float:
    """Bytes a second that a copy of a large array reads and writes together."""
    source = torch.zeros(_COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / seconds(lambda: target.copy_(source), _COPIES)


def processor_features() -> list[str]:
    """Instructions of the processor that products can use."""
    can = torch.cpu.get_capabilities()
    names = (
        "avx2",
        "avx512_f",
        "avx512_bf16",
        "avx512_vnni",
        "amx_bf16",
        "amx_int8",
        "neon",
        "bf16",
    )
    return [str(can.get("cpu_name") or can.get("architecture")), *(n for n in names if can.get(n))]


class PeakMemory:
    """Largest resident memory of this process inside a `with` block, in MB (10^6 bytes).

    Where the kernel does not let its mark be reset, earlier peaks count too: then the figures are
    upper bounds.
    """

    def __enter__(self) -> Self:
        # What was freed before must be asked for anew, or it would not count.
        ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
        except OSError:
            self.is_bound = True
        else:
            self.is_bound = False
        self._before = _status_mb("VmRSS")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.peak_mb = _status_mb("VmHWM")
        self.extra_mb = self.peak_mb - self._before


def _status_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024 / 1e6
    raise LookupError(f"/proc/self/status has no {name}")


def ended(tasks: Sequence[Callable[[], _Result]], processes: int) -> Iterator[_Result]:
    """Results of tasks as they end; more processes than one run so many at once."""
    if processes == 1:
        yield from (task() for task in tasks)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent) as pool:
        for result in as_completed([pool.submit(task) for task in tasks]):
            yield result.result()


def _end_with_parent() -> None:
    """Let a worker end when the process that started it does, however that ended."""
    parent = parent_process()
    assert parent is not None, "a worker has a parent"

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
