"""Peak memory and time of an import, for a corpus and for one of four times its size.

Run `python -m tests.benchmarks.import_memory --json`. Each import is a process of its own, because
peak memory is never given back; the baseline is a process that only imports the importer.

`--bigfile-gib 18` imports one BigFile instead, with rows as wide as TVR's and an index of all of
them. Its first GiB is written and has captions; what lies behind is a hole in a sparse file.
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
_MIB, _GIB = 2**20, 2**30
# TVR's i3d_resnet has 3,072 columns and some 80 rows a video.
BIGFILE_DIM, BIGFILE_FRAMES = 3072, 80


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the only output there is")
    parser.add_argument("--videos", type=int, default=250, help="videos of the smaller corpus")
    parser.add_argument("--bigfile-gib", type=float, help="import one BigFile of this size")
    one = parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    one.metavar = ("LAYOUT", "ROOT", "STORE")
    arguments = parser.parse_args()
    if arguments.one:
        layout, *paths = arguments.one
        print(json.dumps(import_once(layout, *map(Path, paths))))
    elif arguments.bigfile_gib:
        print(json.dumps(import_bigfile(round(arguments.bigfile_gib * _GIB))))
    else:
        print(json.dumps(compare(arguments.videos)))


def compare(num_videos: int) -> dict[str, object]:
    """Import corpora of `num_videos` and of four times as many, each in its own process."""
    imports = []
    for count in (num_videos, 4 * num_videos):
        with tempfile.TemporaryDirectory() as folder:
            write_corpus(Path(folder), count)
            imports.append({"videos": count, **in_own_process("msc", folder)})
    growth = imports[1]["peak_mib"] - imports[0]["peak_mib"]
    sizes = {"frames": FRAMES, "video_dim": VIDEO_DIM, "captions": CAPTIONS, "tokens": TOKENS}
    return {"workload": sizes, "imports": imports, "peak_growth_mib": round(growth, 1)}


def in_own_process(layout: str, folder: str) -> dict[str, float]:
    """Import a folder into a store inside of it."""
    command = [sys.executable, "-m", "tests.benchmarks.import_memory", "--one"]
    command += [layout, folder, str(Path(folder) / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def import_bigfile(size_bytes: int) -> dict[str, object]:
    """Import a BigFile of a size."""
    with tempfile.TemporaryDirectory() as folder:
        num_rows = size_bytes // (4 * BIGFILE_DIM)
        write_bigfile(Path(folder), num_rows)
        workload = {"rows": num_rows, "video_dim": BIGFILE_DIM, "size_mib": size_bytes // _MIB}
        return {"workload": workload, "import": in_own_process("bigfile", folder)}


def import_once(layout: str, root: Path, store: Path) -> dict[str, float]:
    """Import `root` into `store` and measure this process."""
    from prvr_model.store.importers.corpus import ImportChoices
    from prvr_model.store.importers.importing import import_corpus

    before = peak_mib()
    start = time.perf_counter()
    import_corpus(layout, root, "c", store, ImportChoices(skip_uncaptioned=True))
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


def write_bigfile(root: Path, num_rows: int) -> None:
    """A BigFile of random rows, of which the first GiB at most is there and has captions."""
    folder = root / "FeatureData" / "i3d_resnet"
    for path in (folder, root / "TextData"):
        path.mkdir(parents=True)
    videos = {
        f"video_{start:08}": range(start, min(start + BIGFILE_FRAMES, num_rows))
        for start in range(0, num_rows, BIGFILE_FRAMES)
    }
    (folder / "shape.txt").write_text(f"{num_rows} {BIGFILE_DIM}")
    with (folder / "id.txt").open("w") as ids, (folder / "video2frames.txt").open("w") as index:
        for place, (video, rows) in enumerate(videos.items()):
            frames = [f"{video}_frame_{row:08}" for row in rows]
            ids.write(" ".join(frames) + " ")
            index.write(f"{', ' if place else '{'}{video!r}: {frames}")
        index.write("}")
    row_bytes = 4 * BIGFILE_DIM
    written = [video for video, rows in videos.items() if rows.stop * row_bytes <= _GIB]
    rng = np.random.default_rng(0)
    with (folder / "feature.bin").open("wb") as file:
        for _ in written:
            rng.standard_normal((BIGFILE_FRAMES, BIGFILE_DIM), np.float32).tofile(file)
        file.truncate(num_rows * row_bytes)
    write_texts(root, written)


def write_texts(root: Path, videos: list[str]) -> None:
    """A caption for each video; a tenth of the videos are val."""
    lines: dict[str, list[str]] = {"train": [], "val": []}
    tokens = np.random.default_rng(0).standard_normal((TOKENS, TEXT_DIM), np.float32)
    with h5py.File(root / "TextData" / "roberta_c_query_feat.hdf5", "w") as texts:
        for number, video in enumerate(videos):
            texts[f"{video}#enc#0"] = tokens
            lines["train" if number % 10 else "val"].append(f"{video}#enc#0 a caption\n")
    for split, captions in lines.items():
        (root / "TextData" / f"c{split}.caption.txt").write_text("".join(captions))


if __name__ == "__main__":
    main()
