"""Queries against a gallery on disk, and the time to read its bytes once; how both grow.

Run `python -m tests.benchmarks.query --json`. Vectors are made up (`made_gallery`). Each size is
measured in a process of its own that has opened the gallery and nothing else. Reading is the
largest 64-bit word of all mapped vectors, with as many threads as a query has, alternating with
the queries; the file is in the system's cache, as a gallery in use is.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prvr_model.inputs.threads import in_parts
from prvr_model.retrieval.gallery import GalleryReader
from prvr_model.retrieval.ivf import (
    DEFAULT_RECALL,
    NUM_SAMPLES,
    InvertedFile,
    SampleQueries,
    build_index,
)
from prvr_model.retrieval.search import search
from tests.benchmarks.growth import exponents
from tests.benchmarks.measure import arguments, seconds, show

TOP = 10
# They are made by the process that makes the gallery: the other one has no memory of it.
QUERIES = "queries.npy"
FIGURES = ("read_s", "one_s", "many_s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, nargs="+", default=[10_000], help="sizes, each alone")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument(
        "--index", action="store_true", help="make and measure an inverted file too"
    )
    parser.add_argument(
        "--videos-per-event",
        type=int,
        default=24,
        help="that show what a query asks for, on average; with 12, a fourth of the queries has "
        "fewer than ten, and the rest of their ten best is chance",
    )
    parser.add_argument("--queries", type=int, default=64, help="asked at once")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", help="where galleries are made, and removed")
    parser.add_argument("--gallery", help=argparse.SUPPRESS)
    options = arguments(parser)
    if options.gallery is not None:
        print(json.dumps(measure(Path(options.gallery), options)))
        return
    rows = [_measured(videos, options) for videos in options.videos]
    show({"sizes": rows, "exponents": exponents(options.videos, rows, FIGURES)}, options)


def _measured(videos: int, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of a gallery of some size, which is made and removed."""
    # The process that queries has no use for what makes galleries.
    from tests.benchmarks.made_gallery import (
        EVENTS_PER_VIDEO,
        made_settings,
        make_gallery,
        queries,
    )

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        gallery = Path(folder) / "made.gallery"
        settings = made_settings(options.hidden, options.clips, options.frames)
        known = max(1, videos * EVENTS_PER_VIDEO // options.videos_per_event)
        made = make_gallery(gallery, videos, settings, options.dtype, known)
        built = {}
        if options.index:
            vectors = queries(options.hidden, known, NUM_SAMPLES, seed=5).numpy()
            samples = SampleQueries(vectors, "made up")
            built["build_s"] = seconds(lambda: build_index(gallery, samples, DEFAULT_RECALL))
        np.save(gallery / QUERIES, queries(options.hidden, known, options.queries))
        found = _run(gallery, options)
    return {"videos": videos, "bytes": made.num_bytes, **built, **found}


def _run(gallery: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.query", "--gallery", str(gallery)]
    for name in ("repeats", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(gallery: Path, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds, and resident memory beside the mapped files."""
    reader = GalleryReader.open(gallery)
    asked = torch.from_numpy(np.load(gallery / QUERIES))
    work = {
        "read_s": lambda: read_once(reader, options.threads),
        "one_s": lambda: search(reader, asked[:1], TOP),
        "many_s": lambda: search(reader, asked, TOP),
    }
    if reader.manifest.index is not None:
        index = InvertedFile(reader)
        work["indexed_s"] = lambda: index.search(asked[:1], TOP)
    for task in work.values():  # maps all pages, starts threads
        task()
    # In turns: the machine may be shared, and all see the same of it.
    turns = [{name: seconds(task) for name, task in work.items()} for _ in range(options.repeats)]
    found = {name: statistics.median(turn[name] for turn in turns) for name in work}
    return {
        **found,
        "one_by_read": found["one_s"] / found["read_s"],
        "many_by_one": found["many_s"] / found["one_s"],
        **_of_index(reader, found),
        "resident_mb": resident_beside_mb(gallery),
    }


def _of_index(reader: GalleryReader, found: dict[str, float]) -> dict[str, float]:
    index = reader.manifest.index
    if index is None:
        return {}
    return {
        "one_by_indexed": found["one_s"] / found["indexed_s"],
        "recall": index.recall,
        "scored_share": index.scored_share,
    }


def read_once(reader: GalleryReader, threads: int) -> int:
    """The largest 64-bit word of all vectors."""
    largest = [0]
    for batch in reader.batches:
        for rows in (batch.clips, batch.frames):
            words = rows.flatten().view(torch.int64).numpy()
            in_parts(
                len(words), threads, lambda part, words=words: largest.append(words[part].max())
            )
    return int(np.max(largest))


def resident_beside_mb(gallery: Path) -> float:
    """Resident memory of this process without mapped files of a gallery, in MB (10^6 bytes)."""
    resident_kb, is_counted = 0, True
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            is_counted = not words[-1].startswith(str(gallery.resolve()))
        elif words[0] == "Rss:" and is_counted:
            resident_kb += int(words[1])
    return resident_kb * 1024 / 1e6


if __name__ == "__main__":
    main()
