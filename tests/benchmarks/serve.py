"""A service under load: real HTTP, many clients at a time, against one query after the other.

Run `python -m tests.benchmarks.serve --json`. The gallery is made up (`made_gallery`), and queries
are token features: the search is what is measured. One query after the other is asked of the same
service by one client, and of a `Gallery` in this process, which has no HTTP to pay for.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from orchestrator.serving.gallery import Gallery
from tests.benchmarks.made_gallery import made_settings, make_gallery
from tests.benchmarks.measure import arguments, show
from tests.orchestrator.serving.serve_process import ServeProcess, serving

TEXT_DIM = 8  # of the model of a made-up gallery
TOKENS = 12
TIMEOUT_S = 120.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--alone", type=int, default=40, help="queries asked one after the other")
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
    scanned = _scan(path, options.alone)
    with serving(folder, "--shards", str(options.shards)) as served:
        _asked(served, options.clients, options.clients)  # maps all pages, starts threads
        alone = _asked(served, options.alone, 1)
        together = _asked(served, options.queries, options.clients)
    rate = together["queries_per_s"]
    return {
        "together": together,
        "one_client": alone,
        "scan_queries_per_s": scanned,
        "times_one_client": rate / alone["queries_per_s"],
        "times_scan": rate / scanned,
    }


def _tokens(number: int) -> np.ndarray:
    draw = np.random.default_rng(number)
    return draw.standard_normal((TOKENS, TEXT_DIM)).astype(np.float32)


def _scan(path: Path, count: int) -> float:
    """Queries a second of an open gallery, one after the other."""
    gallery = Gallery.open(path)
    gallery.query_tokens([_tokens(0)])
    start = time.perf_counter()
    for number in range(count):
        gallery.query_tokens([_tokens(number)])
    return count / (time.perf_counter() - start)


def _asked(served: ServeProcess, count: int, clients: int) -> dict[str, Any]:
    took: list[float] = []
    errors: list[str] = []
    numbers = iter(range(count))

    async def one(client: httpx.AsyncClient) -> None:
        for number in numbers:
            start = time.perf_counter()
            found = await client.post("/query", json={"tokens": _tokens(number).tolist()})
            took.append(time.perf_counter() - start)
            if found.status_code != 200:
                errors.append(found.text)

    async def every() -> None:
        async with httpx.AsyncClient(base_url=served.address, timeout=TIMEOUT_S) as client:
            await asyncio.gather(*(one(client) for _ in range(clients)))

    start = time.perf_counter()
    asyncio.run(every())
    return {
        "queries_per_s": count / (time.perf_counter() - start),
        "p50_s": float(np.quantile(took, 0.5)),
        "p99_s": float(np.quantile(took, 0.99)),
        "errors": len(errors),
    }


if __name__ == "__main__":
    main()
