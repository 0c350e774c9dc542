"""One small corpus, written in every layout."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

VIDEO_DIM, TEXT_DIM = 6, 4
SLOWFAST_DIM = 4
NAME = "tiny"


@dataclass(frozen=True)
class Caption:
    """A caption; `number` is its own in the whole corpus."""

    split: str
    video: str
    number: int
    text: str

    @property
    def id(self) -> str:
        return f"{self.video}#enc#{self.number}"


@dataclass(frozen=True)
class SmallCorpus:
    """What all layouts hold: rows of unit length, so that no split is longer than another."""

    captions: list[Caption] = field(default_factory=list)
    frames: dict[str, np.ndarray] = field(default_factory=dict)
    tokens: dict[str, np.ndarray] = field(default_factory=dict)

    def of(self, split: str) -> list[Caption]:
        return [caption for caption in self.captions if caption.split == split]

    def pooled(self) -> "SmallCorpus":
        """The same with the last row of each caption alone."""
        return replace(self, tokens={key: rows[-1:] for key, rows in self.tokens.items()})


def small_corpus(
    videos: Mapping[str, Mapping[str, int]], captions_per_video: int = 2, seed: int = 0
) -> SmallCorpus:
    """A corpus of random features.

    Args:
        videos: Number of rows of each video, by split.
        captions_per_video: Captions of each; the k-th has k + 1 rows.
        seed: Seed of the features.
    """
    rng = np.random.default_rng(seed)
    corpus = SmallCorpus()
    for split, lengths in videos.items():
        for video, length in lengths.items():
            corpus.frames[video] = _rows(rng, length, VIDEO_DIM)
            for number in range(captions_per_video):
                text = f"Caption {number} of {video}."
                caption = Caption(split, video, len(corpus.captions), text)
                corpus.captions.append(caption)
                corpus.tokens[caption.id] = _rows(rng, number + 1, TEXT_DIM)
    return corpus


def _rows(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array


def write_caption_files(corpus: SmallCorpus, folder: Path) -> None:
    for split in dict.fromkeys(caption.split for caption in corpus.captions):
        lines = [f"{caption.id} {caption.text}\n" for caption in corpus.of(split)]
        path = folder / "TextData" / f"{NAME}{split}.caption.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")


def write_bigfile(
    folder: Path, frames: Mapping[str, np.ndarray], encoding: str = "utf-8", seed: int = 0
) -> None:
    """A BigFile whose rows lie in no order."""
    folder.mkdir(parents=True)
    names = [(video, row) for video, rows in frames.items() for row in range(len(rows))]
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    matrix = np.stack([frames[video][row] for video, row in order])
    matrix.astype("<f4").tofile(folder / "feature.bin")
    (folder / "shape.txt").write_text(f"{len(matrix)} {matrix.shape[1]}")
    ids = "\n".join(f"{video}_{row}" for video, row in order)
    (folder / "id.txt").write_bytes(ids.encode(encoding))
    index = {
        video: [f"{video}_{row}" for row in range(len(rows))] for video, rows in frames.items()
    }
    (folder / "video2frames.txt").write_bytes(str(index).encode(encoding))


def write_npz(folder: Path, member: str, arrays: Mapping[str, np.ndarray]) -> None:
    for key, array in arrays.items():
        path = folder / f"{key}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{member: array})


def write_npy(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    for key, array in arrays.items():
        path = folder / f"{key}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)


def _msc(corpus: SmallCorpus, root: Path) -> None:
    write_caption_files(corpus, root / NAME)
    write_hdf5(root / NAME / "FeatureData" / f"{NAME}_clip_L14.h5", corpus.frames)
    write_hdf5(root / NAME / "TextData" / f"{NAME}_clip_L14.h5", corpus.tokens)


def _msc_qvhighlights(corpus: SmallCorpus, root: Path) -> None:
    write_caption_files(corpus, root)
    write_hdf5(root / "FeatureData" / f"{NAME}_slowfast_clip.h5", corpus.frames)
    write_hdf5(root / "TextData" / f"{NAME}_slowfast_clip_text.h5", corpus.tokens)


def _roberta(corpus: SmallCorpus, root: Path) -> None:
    write_caption_files(corpus, root)
    wrapped = {key: rows[None] for key, rows in corpus.tokens.items()}
    write_hdf5(root / "TextData" / f"roberta_{NAME}_query_feat.hdf5", wrapped)


def _bigfile(corpus: SmallCorpus, root: Path) -> None:
    _roberta(corpus, root)
    write_bigfile(root / "FeatureData" / "i3d_resnet", corpus.frames)


def _hdf5(corpus: SmallCorpus, root: Path) -> None:
    _roberta(corpus, root)
    wide = {video: rows.astype(np.float64) for video, rows in corpus.frames.items()}
    write_hdf5(root / "FeatureData" / "i3d_resnet" / "feature.hdf5", wide)


def _dl_dkd(corpus: SmallCorpus, root: Path) -> None:
    _bigfile(corpus, root)
    videos = root / "FeatureData" / f"new_clip_vit_32_{NAME}_vid_features.hdf5"
    write_hdf5(videos, corpus.frames)
    pooled = {key: rows[-1] for key, rows in corpus.tokens.items()}
    write_hdf5(root / "TextData" / f"clip_ViT_B_32_{NAME}_query_feat.hdf5", pooled)


def _moment_detr(corpus: SmallCorpus, root: Path) -> None:
    features = root / "features"
    parts = {"slowfast_features": slice(SLOWFAST_DIM), "clip_features": slice(SLOWFAST_DIM, None)}
    for name, columns in parts.items():
        arrays = {video: rows[:, columns] for video, rows in corpus.frames.items()}
        write_npz(features / name, "features", arrays)
    tokens = {f"qid{caption.number}": corpus.tokens[caption.id] for caption in corpus.captions}
    write_npz(features / "clip_text_features", "last_hidden_state", tokens)
    write_highlights(root / "data", [highlight(caption) for caption in corpus.captions])


def highlight(caption: Caption, **more: object) -> tuple[str, dict[str, object]]:
    """Split and values of a line of Moment-DETR's annotations."""
    line = {"qid": caption.number, "query": caption.text, "vid": caption.video}
    return caption.split, {**line, **more}


def write_highlights(folder: Path, lines: list[tuple[str, dict[str, object]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in dict.fromkeys(split for split, _ in lines):
        text = "".join(f"{json.dumps(line)}\n" for of, line in lines if of == split)
        (folder / f"highlight_{split}_release.jsonl").write_text(text)


def table_rows(corpus: SmallCorpus) -> list[dict[str, object]]:
    return [
        {"id": caption.id, "video": caption.video, "caption": caption.text, "split": caption.split}
        for caption in corpus.captions
    ]


def _table(corpus: SmallCorpus, root: Path) -> None:
    write_npy(root / "video_features", corpus.frames)
    write_npz(root / "text_features", "tokens", corpus.tokens)
    lines = "".join(f"{json.dumps(row)}\n" for row in table_rows(corpus))
    (root / "captions.jsonl").write_text(lines)


WRITERS: dict[str, Callable[[SmallCorpus, Path], None]] = {
    "msc": _msc,
    "msc-qvhighlights": _msc_qvhighlights,
    "bigfile": _bigfile,
    "hdf5": _hdf5,
    "dl-dkd": _dl_dkd,
    "moment-detr": _moment_detr,
    "table": _table,
}

# Where ids have a form, a `#` ends the video's name and white space the caption's id.
FREE_NAMES = ("moment-detr", "table")


def written(layout: str, corpus: SmallCorpus, root: Path) -> Path:
    """The corpus in a layout; returns `root`."""
    WRITERS[layout](corpus, root)
    return root
