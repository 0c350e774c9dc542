"""A service under load: real HTTP, many clients at a time, against one query after the other.

Run `python -m tests.benchmarks.serve --json`. The gallery is made up (`made_gallery`), and queries
are token features: the search is what is measured. One query after the other is asked of the same
service by one client, and of a `Gallery` in this process, which has no HTTP to pay for.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from orchestrator.serving.gallery import Gallery
from tests.benchmarks.made_gallery import made_settings, make_gallery
from tests.benchmarks.measure import arguments, seconds, show
from tests.orchestrator.serving.serve_process import ServeProcess, serving

TEXT_DIM = 8  # of the model of a made-up gallery
TOKENS = 12
TIMEOUT_S = 120.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2_000, help="of all clients, in all rounds")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--alone", type=int, default=40, help="queries asked one after the other")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--folder", help="where the gallery is made, and removed")
    options = arguments(parser)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        show(measure(Path(folder), options), options)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Queries a second and seconds a query, of many clients, of one, and without a service."""
    settings = made_settings(options.hidden, options.clips, options.frames)
    path = folder / "my.gallery"
    make_gallery(path, options.videos, settings, options.dtype, max(1, options.videos // 2))
    gallery = Gallery.open(path)
    with serving(folder, "--shards", str(options.shards)) as served:
        scan(gallery, 1)
        ask(served, options.clients, options.clients)  # maps all pages, starts threads
        # In turns: the machine may be shared, and all see the same of it.
        rounds = [
            (
                scan(gallery, options.alone // options.rounds),
                ask(served, options.alone // options.rounds, 1),
                ask(served, options.queries // options.rounds, options.clients),
            )
            for _ in range(options.rounds)
        ]
    scans, alone, together = zip(*rounds, strict=True)
    return {
        "together": summary(together),
        "one_client": summary(alone),
        "scan": summary(scans),
        "times_one_client": ratio(together, alone),
        "times_scan": ratio(together, scans),
    }


@dataclass(frozen=True)
class Load:
    """What some queries took: all together, and each."""

    total_s: float
    each_s: Sequence[float]
    errors: int = 0

    @property
    def queries_per_s(self) -> float:
        """Throughput."""
        return len(self.each_s) / self.total_s


def summary(loads: Sequence[Load]) -> dict[str, float]:
    """Median throughput of the rounds, and the times of all their queries."""
    took = np.concatenate([load.each_s for load in loads])
    return {
        "queries_per_s": statistics.median(load.queries_per_s for load in loads),
        "p50_s": float(np.quantile(took, 0.5)),
        "p99_s": float(np.quantile(took, 0.99)),
        "errors": sum(load.errors for load in loads),
    }


def ratio(loads: Sequence[Load], others: Sequence[Load]) -> float:
    """Median ratio of throughputs, round by round."""
    pairs = zip(loads, others, strict=True)
    return statistics.median(load.queries_per_s / other.queries_per_s for load, other in pairs)


def _tokens(number: int) -> np.ndarray:
    draw = np.random.default_rng(number)
    return draw.standard_normal((TOKENS, TEXT_DIM)).astype(np.float32)


def scan(gallery: Gallery, count: int) -> Load:
    """Ask an open gallery, one query after the other."""
    took = [
        seconds(lambda number=number: gallery.query_tokens([_tokens(number)]))
        for number in range(count)
    ]
    return Load(sum(took), took)


def ask(served: ServeProcess, count: int, clients: int) -> Load:
    """Ask a service, each client its next query when it has its answer."""
    took: list[float] = []
    refused: list[str] = []
    numbers = iter(range(count))

    async def one(client: httpx.AsyncClient) -> None:
        for number in numbers:
            start = time.perf_counter()
            found = await client.post("/query", json={"tokens": _tokens(number).tolist()})
            took.append(time.perf_counter() - start)
            if found.status_code != 200:
                refused.append(found.text)

    async def every() -> None:
        async with httpx.AsyncClient(base_url=served.address, timeout=TIMEOUT_S) as client:
            await asyncio.gather(*(one(client) for _ in range(clients)))

    return Load(seconds(lambda: asyncio.run(every())), took, len(refused))


if __name__ == "__main__":
    main()
