"""Reads a feature store: memory-mapped Arrow files, every array a view of the page cache.

Many trials on one machine share one copy of the features, and reading a video copies nothing.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from prvr_model.errors import StoreError
from prvr_model.store.annotations import caption_bytes, video_bytes
from prvr_model.store.format import (
    KINDS,
    ContentDigest,
    Kind,
    Manifest,
    file_name,
    read_manifest,
    schema,
)

# numpy's names of types that Arrow names differently.
_DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}


class FeatureStore:
    """A store on disk, opened with `FeatureStore.open`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._splits: dict[str, StoreSplit] = {}

    @classmethod
    def open(cls, path: Path) -> "FeatureStore":
        """Open the store at `path`; sizes of its files are checked, their content is not.

        Raises:
            StoreError: There is no store, its format version is unknown, or files are missing or
                truncated.
        """
        path = path.absolute()
        manifest = read_manifest(path)
        problems = list(_file_problems(path, manifest))
        if problems:
            raise StoreError(f"{path} is damaged: {'; '.join(problems)}; import the data again")
        return cls(path, manifest)

    def has_split(self, name: str) -> bool:
        """Whether the store has a split of this name."""
        return name in self.manifest.splits

    def split(self, name: str) -> "StoreSplit":
        """One split; the same object at each call.

        Raises:
            StoreError: No such split (the message lists the existing ones), or damaged files.
        """
        if not self.has_split(name):
            there = ", ".join(self.manifest.splits)
            raise StoreError(f"{self.path} has no split {name!r}; it has {there}")
        if name not in self._splits:
            self._splits[name] = StoreSplit(self, name)
        return self._splits[name]

    def verify(self) -> None:
        """Read everything once and compare it with the manifest.

        Raises:
            StoreError: Names each file whose content is not what was written.
        """
        if damaged := [file for name in self.manifest.splits for file in self.damaged_files(name)]:
            raise StoreError(
                f"{self.path} is damaged: the content of {', '.join(damaged)} is not what was "
                "written; import the data again"
            )

    def damaged_files(self, split: str) -> list[str]:
        """Names of a split's files whose content is not what the manifest says; reads it all.

        Raises:
            StoreError: A file cannot even be read.
        """
        for kind in KINDS:
            _refuse_unsound(self, split, kind)
        files = {file_name(split, kind): kind for kind in KINDS}
        return [name for name, kind in files.items() if not self._is_as_written(split, kind)]

    def _is_as_written(self, split: str, kind: Kind) -> bool:
        expected = self.manifest.files[file_name(split, kind)].content_sha256
        try:
            return self.split(split).content_sha256(kind) == expected
        except IndexError:  # captions of videos that do not exist
            return False


class StoreSplit:
    """Videos and captions of one split; rows are in the order of the source's caption file."""

    name: str
    video_ids: Sequence[str]
    caption_ids: Sequence[str]
    caption_texts: Sequence[str]
    caption_video: np.ndarray
    """Row of each caption's video in this split, int64 (num_captions,)."""
    num_frames: np.ndarray
    """Frames of each video, int64 (num_videos,)."""
    num_tokens: np.ndarray
    """Tokens of each caption, int64 (num_captions,)."""

    def __init__(self, store: FeatureStore, name: str) -> None:
        self.name = name
        videos, captions = (_read_batches(store, name, kind) for kind in KINDS)
        self._frames, self._tokens = _RaggedRows(videos), _RaggedRows(captions)
        self.video_ids = _strings(videos, "id")
        self.caption_ids = _strings(captions, "id")
        self.caption_texts = _strings(captions, "text")
        self.caption_video = np.concatenate([_values(batch["video"]) for batch in captions])
        self.caption_video.flags.writeable = False
        self.num_frames = self._frames.lengths
        self.num_tokens = self._tokens.lengths
        self._videos, self._captions = videos, captions

    @cached_property
    def durations_s(self) -> np.ndarray:
        """Length of each video in seconds, float64 (num_videos,); NaN where it is not known."""
        if "duration_s" not in self._videos[0].schema.names:
            return np.full(len(self.video_ids), np.nan)
        return np.concatenate([_values(batch["duration_s"]) for batch in self._videos])

    @cached_property
    def moments(self) -> Sequence[Sequence[Sequence[float]]]:
        """Start and end in seconds of each caption's moments in its video; none if unknown."""
        return self._annotated("moments")

    @cached_property
    def relevant(self) -> Sequence[Sequence[int]]:
        """Rows of the videos that each caption is verified to be right for; none if unknown."""
        return self._annotated("relevant")

    @cached_property
    def query_types(self) -> Sequence[str]:
        """What each caption is about, as its annotation names it; empty where that is unknown."""
        if "query_type" not in self._captions[0].schema.names:
            return ("",) * len(self.caption_ids)
        return _strings(self._captions, "query_type")

    @property
    def has_labels(self) -> bool:
        """Whether any caption has verified videos."""
        return any(map(len, self.relevant))

    def _annotated(self, column: str) -> Sequence[Sequence[Any]]:
        if column not in self._captions[0].schema.names:
            return ((),) * len(self.caption_ids)
        return tuple(items for batch in self._captions for items in batch[column].to_pylist())

    def frames(self, video: int) -> np.ndarray:
        """Features of a video, (T, video_dim): a read-only view into the mapped file."""
        return self._frames[video]

    def tokens(self, caption: int) -> np.ndarray:
        """Features of a caption, (L, text_dim): a read-only view; the last row is the sentence."""
        return self._tokens[caption]

    def content_sha256(self, kind: Kind) -> str:
        """Digest of the content as it is on disk now; reads all of it."""
        digest = ContentDigest()
        if kind == "videos":
            for row, (video_id, duration) in enumerate(
                zip(self.video_ids, self.durations_s, strict=True)
            ):
                digest.add((video_id,), self.frames(row), video_bytes(duration))
        else:
            videos = (self.video_ids[row] for row in self.caption_video)
            texts = zip(self.caption_ids, videos, self.caption_texts, strict=True)
            known = map(caption_bytes, self.moments, self.relevant, self.query_types)
            for row, (caption, annotation) in enumerate(zip(texts, known, strict=True)):
                digest.add(caption, self.tokens(row), annotation)
        return digest.hexdigest()


class _RaggedRows:
    """Lists of feature rows over several record batches, indexed by item."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._matrices: list[np.ndarray] = []
        offsets = []
        for batch in batches:
            lists = batch["features"]
            dim = lists.type.value_type.list_size
            self._matrices.append(_values(lists.values.values).reshape(-1, dim))
            offsets.append(_values(lists.offsets))
        self._batch = np.repeat(np.arange(len(batches)), [len(offset) - 1 for offset in offsets])
        self._start = np.concatenate([offset[:-1] for offset in offsets])
        self._stop = np.concatenate([offset[1:] for offset in offsets])
        self.lengths = self._stop - self._start
        self.lengths.flags.writeable = False

    def __getitem__(self, item: int) -> np.ndarray:
        matrix = self._matrices[self._batch[item]]
        rows: np.ndarray = matrix[self._start[item] : self._stop[item]]
        return rows


def _read_batches(store: FeatureStore, split: str, kind: Kind) -> list[pa.RecordBatch]:
    manifest = store.manifest
    dim, dtype = (
        (manifest.video_dim, manifest.video_dtype)
        if kind == "videos"
        else (manifest.text_dim, manifest.text_dtype)
    )
    expected = schema(kind, dim, dtype, manifest.format_version)
    path = store.path / file_name(split, kind)
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"cannot read {path} ({error}); import the data again") from error
    count = getattr(manifest.splits[split], kind)
    if reader.schema != expected or sum(map(len, batches)) != count:
        raise StoreError(f"{path} is not what the manifest says; import the data again")
    return batches


def _refuse_unsound(store: FeatureStore, split: str, kind: Kind) -> None:
    """Refuse a file with damaged offsets or texts.

    Arrow trusts what it maps: reading at a damaged offset would crash the process, not raise.
    """
    path = store.path / file_name(split, kind)
    try:
        for batch in _read_batches(store, split, kind):
            batch.validate(full=True)
            if any(column.null_count for column in batch.columns):
                raise StoreError(f"{path} is damaged (it has nulls); import the data again")
    except pa.ArrowException as error:
        raise StoreError(f"{path} is damaged ({error}); import the data again") from error


def _values(column: pa.Array) -> np.ndarray:
    """A view of a column of numbers; pyarrow's own way would import pandas, 0.2 s per process."""
    dtype = np.dtype(_DTYPES.get(str(column.type), str(column.type)))
    start = column.offset * dtype.itemsize
    return np.frombuffer(column.buffers()[1], dtype, len(column), start)


def _strings(batches: Sequence[pa.RecordBatch], column: str) -> tuple[str, ...]:
    return tuple(text for batch in batches for text in batch[column].to_pylist())


def _file_problems(path: Path, manifest: Manifest) -> Iterator[str]:
    for name, record in manifest.files.items():
        file = path / name
        if not file.is_file():
            yield f"{name} is missing"
        elif (size := file.stat().st_size) != record.size_bytes:
            yield f"{name} has {size} bytes instead of {record.size_bytes}"
    for split in manifest.splits:
        for kind in KINDS:
            if file_name(split, kind) not in manifest.files:
                yield f"the manifest does not list {file_name(split, kind)}"
