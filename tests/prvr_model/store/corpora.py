"""Tiny corpora in the MSC layout, written with h5py, and damaged at will."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from prvr_model.store.importers.importing import import_corpus

VIDEO_DIM, TEXT_DIM = 6, 4

import_msc = partial(import_corpus, "msc")


@dataclass
class MscCorpus:
    """Content of a corpus; change it, then `write` it."""

    name: str = "tiny"
    frames: dict[str, np.ndarray] = field(default_factory=dict)
    tokens: dict[str, np.ndarray] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=dict)
    video_file: str = ""
    text_file: str = ""

    def write(self, root: Path) -> Path:
        """Write the corpus below `root`; returns `root`."""
        folder = root / self.name
        for part in ("FeatureData", "TextData"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        _write_hdf5(self.video_path(root), self.frames)
        _write_hdf5(self.text_path(root), self.tokens)
        for split, lines in self.captions.items():
            text = "".join(f"{line}\n" for line in lines)
            self.caption_path(root, split).write_text(text, encoding="utf-8")
        return root

    def video_path(self, root: Path) -> Path:
        file = self.video_file or f"{self.name}_clip_L14.h5"
        return root / self.name / "FeatureData" / file

    def text_path(self, root: Path) -> Path:
        return root / self.name / "TextData" / (self.text_file or f"{self.name}_clip_L14.h5")

    def caption_path(self, root: Path, split: str) -> Path:
        return root / self.name / "TextData" / f"{self.name}{split}.caption.txt"


def tiny_corpus(
    videos: Mapping[str, Sequence[str]] | None = None,
    dtype: str = "float16",
    captions_per_video: int = 2,
) -> MscCorpus:
    """A sound corpus: two train, one val and one test video unless told otherwise."""
    videos = videos or {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    rng = np.random.default_rng(1)
    corpus = MscCorpus()
    for split, names in videos.items():
        for name in names:
            rows = int(rng.integers(3, 9))
            corpus.frames[name] = rng.standard_normal((rows, VIDEO_DIM)).astype(dtype)
            for number in range(captions_per_video):
                key = f"{name}#enc#{number}"
                corpus.tokens[key] = rng.standard_normal((2 + number, TEXT_DIM)).astype(dtype)
                line = f"{key} Caption {number} of {name}."
                corpus.captions.setdefault(split, []).append(line)
    return corpus


def _write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
