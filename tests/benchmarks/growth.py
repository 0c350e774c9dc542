"""How time and memory grow: of a step with its batch, of an evaluation with its gallery.

Run `python -m tests.benchmarks.growth --json`. Each size is a process of its own, because freed
memory is not always given back. An exponent is the slope of a straight line through the
logarithms: 1 where twice the size takes twice as long.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.benchmarks.measure import arguments, gemm_gflops, show

CAPTIONS_PER_VIDEO = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    batches, galleries = [16, 32, 64, 128, 256], [250, 500, 1000, 2000, 4000, 8000]
    parser.add_argument("--batches", type=int, nargs="+", default=batches)
    parser.add_argument("--galleries", type=int, nargs="+", default=galleries)
    parser.add_argument("--queries", type=int, default=1024, help="of every evaluation")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=3)
    options = arguments(parser)
    steps = [measure_step(videos, options) for videos in options.batches]
    evaluations = [measure_evaluation(videos, options) for videos in options.galleries]
    result = {
        "train_step": steps,
        "train_step_exponents": exponents(options.batches, steps, ("step_s", "extra_mb")),
        "evaluate": evaluations,
        "evaluate_exponents": exponents(options.galleries, evaluations, ("total_s", "extra_mb")),
        "gemm_gflops": gemm_gflops(),
    }
    show(result, options)


def measure_step(videos: int, options: argparse.Namespace) -> dict[str, float]:
    """A training step on some videos."""
    captions = CAPTIONS_PER_VIDEO * videos
    found = run("train_step", options, "--videos", videos, "--captions", captions)
    names = ("videos", "step_s", "extra_mb", "peak_rss_mb", "gemm_fraction")
    return {name: found[name] for name in names}


def measure_evaluation(videos: int, options: argparse.Namespace) -> dict[str, float]:
    """An evaluation of a fixed number of queries on a gallery."""
    found = run("evaluate", options, "--videos", videos, "--queries", options.queries)
    return {name: found[name] for name in ("videos", "total_s", "extra_mb", "ratio", "collapse_s")}


def run(name: str, options: argparse.Namespace, *arguments: str | int) -> dict[str, Any]:
    """Output of another benchmark in a process of its own."""
    shared = ("threads", "hidden", "dim", "repeats")
    passed = [str(part) for name in shared for part in (f"--{name}", getattr(options, name))]
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json", *passed]
    command += map(str, arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def exponents(
    sizes: Sequence[int], rows: Sequence[dict[str, float]], names: Sequence[str]
) -> dict[str, float | None]:
    """Slope of the logarithm of each figure over that of the size; None for a single size."""
    if len(sizes) < 2:
        return dict.fromkeys(names)
    logarithms = np.log(np.array(sizes, float))
    # Memory of a tiny workload may be below what the kernel counts.
    values = {name: [max(row[name], 1e-3) for row in rows] for name in names}
    slopes = {name: np.polyfit(logarithms, np.log(found), 1)[0] for name, found in values.items()}
    return {name: float(slope) for name, slope in slopes.items()}


if __name__ == "__main__":
    main()
