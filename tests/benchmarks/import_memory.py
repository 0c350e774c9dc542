"""Peak memory and time of an import, for a corpus and for one of four times its size.

Run `python -m tests.benchmarks.import_memory --json`. Each import is a process of its own, because
peak memory is never given back; the baseline is a process that only imports the importer.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

FRAMES, VIDEO_DIM, CAPTIONS, TOKENS, TEXT_DIM = 100, 768, 4, 16, 768
_MIB = 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the only output there is")
    parser.add_argument("--videos", type=int, default=250, help="videos of the smaller corpus")
    parser.add_argument("--one", nargs=2, metavar=("ROOT", "STORE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(import_once(*map(Path, arguments.one))))
    else:
        print(json.dumps(compare(arguments.videos)))


def compare(num_videos: int) -> dict[str, object]:
    """Import corpora of `num_videos` and of four times as many, each in its own process."""
    imports = []
    for count in (num_videos, 4 * num_videos):
        with tempfile.TemporaryDirectory() as folder:
            write_corpus(Path(folder), count)
            command = [sys.executable, "-m", "tests.benchmarks.import_memory", "--one"]
            command += [folder, str(Path(folder) / "store")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            imports.append({"videos": count, **json.loads(done.stdout)})
    growth = imports[1]["peak_mib"] - imports[0]["peak_mib"]
    sizes = {"frames": FRAMES, "video_dim": VIDEO_DIM, "captions": CAPTIONS, "tokens": TOKENS}
    return {"workload": sizes, "imports": imports, "peak_growth_mib": round(growth, 1)}


def import_once(root: Path, store: Path) -> dict[str, float]:
    """Import `root` into `store` and measure this process."""
    from prvr_model.store.importers.importing import import_corpus

    before = peak_mib()
    start = time.perf_counter()
    import_corpus("msc", root, "c", store)
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in store.iterdir()) / _MIB
    return {
        "store_mib": round(size, 1),
        "seconds": round(seconds, 2),
        "peak_before_mib": round(before, 1),
        "peak_mib": round(peak_mib(), 1),
    }


def peak_mib() -> float:
    """Largest resident set of this process so far; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_corpus(root: Path, num_videos: int) -> None:
    """A sound corpus of random float16 features; a tenth of the videos each in val and test."""
    rng = np.random.default_rng(0)
    for part in ("FeatureData", "TextData"):
        (root / part).mkdir()
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    with (
        h5py.File(root / "FeatureData" / "c_clip_L14.h5", "w") as videos,
        h5py.File(root / "TextData" / "c_clip_L14.h5", "w") as texts,
    ):
        for number in range(num_videos):
            videos[f"v{number}"] = rng.random((FRAMES, VIDEO_DIM), np.float32).astype(np.float16)
            split = {0: "val", 1: "test"}.get(number % 10, "train")
            for caption in range(CAPTIONS):
                key = f"v{number}#enc#{caption}"
                texts[key] = rng.random((TOKENS, TEXT_DIM), np.float32).astype(np.float16)
                lines[split].append(f"{key} caption {caption} of video {number}\n")
    for split, captions in lines.items():
        (root / "TextData" / f"c{split}.caption.txt").write_text("".join(captions))


if __name__ == "__main__":
    main()
