"""Writes a feature store as a stream: all of it appears at once, or nothing does.

Items go to a hidden folder beside the target in bounded batches; the folder is renamed when
everything is on disk, and removed on any error or interrupt.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import pyarrow as pa

from prvr_model.errors import DataError, StoreError
from prvr_model.files.durable import sync_folder
from prvr_model.files.partial_folder import PartialFolder
from prvr_model.store.format import (
    MANIFEST_NAME,
    SPLIT_NAMES,
    ContentDigest,
    DTypeName,
    FileRecord,
    Kind,
    Manifest,
    SplitCounts,
    file_name,
    fingerprint_of,
    is_store,
    schema,
)

# Features that a file holds before it writes them. Two files a split are open, so memory stays
# below some ten times this; large enough that a batch's header and its mapping cost nothing.
_BATCH_BYTES = 2 * 2**20
_Values: TypeAlias = Mapping[str, str | int]


class StoreWriter:
    """Context manager that writes one store.

    Videos and captions of all splits may come in any order, except that a caption comes after
    its video. Leaving the block normally puts the store in place.

    Args:
        path: Folder of the store.
        name: Name of the data set.
        video_dim: Dimension of a frame's features.
        text_dim: Dimension of a token's features.
        video_dtype: Number type that frames are stored in.
        text_dtype: Number type that tokens are stored in.
        source: Where the data came from; plain JSON, kept in the manifest.
        overwrite: Replace a store that is there. Any other folder is refused all the same.

    Raises:
        StoreError: The target exists, or the disk refuses.
    """

    # Eight: each but the path and `overwrite` is a field of the manifest that the caller knows.
    def __init__(
        self,
        path: Path,
        *,
        name: str,
        video_dim: int,
        text_dim: int,
        video_dtype: DTypeName = "float16",
        text_dtype: DTypeName = "float16",
        source: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = path.resolve()
        self.name = name
        self._dims: dict[Kind, int] = {"videos": video_dim, "captions": text_dim}
        self._dtypes: dict[Kind, DTypeName] = {"videos": video_dtype, "captions": text_dtype}
        self._source = dict(source or {})
        self._overwrite = overwrite
        self._partial = PartialFolder(self.path)
        self._folder = self._partial.path
        self._streams: dict[tuple[str, Kind], _Stream] = {}
        self._video_rows: dict[str, dict[str, int]] = {}
        self._captioned: dict[str, set[str]] = {}
        self._caption_ids: dict[str, set[str]] = {}
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        """Manifest of the store; there once the block has been left."""
        assert self._manifest is not None, "the store is not written yet"
        return self._manifest

    def __enter__(self) -> Self:
        check_target(self.path, self._overwrite)
        with self._disk():
            self._partial.make()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        try:
            if kind is None:
                self._commit()
        finally:
            for stream in self._streams.values():
                stream.abandon()
            self._partial.remove()
        return False

    def add_video(self, split: str, video_id: str, frames: np.ndarray) -> None:
        """Append a video.

        Args:
            split: train, val or test.
            video_id: Not used before in this split.
            frames: (T, video_dim), T >= 1, finite after conversion to the store's type.

        Raises:
            DataError: The frames or the id cannot be stored.
            StoreError: The disk refuses.
        """
        rows = self._video_rows.setdefault(_known(split), {})
        if video_id in rows:
            raise DataError(f"video {video_id!r} comes twice in split {split}")
        self._append(split, "videos", {"id": video_id}, (video_id,), frames)
        rows[video_id] = len(rows)

    def add_caption(
        self, split: str, caption_id: str, video_id: str, text: str, tokens: np.ndarray
    ) -> None:
        """Append a caption of a video that was added before.

        Args:
            split: Split of its video.
            caption_id: Not used before in this split.
            video_id: The video that it describes.
            text: The caption as written.
            tokens: (L, text_dim), L >= 1; the last row is the sentence vector.

        Raises:
            DataError: No such video, or the tokens or the id cannot be stored.
            StoreError: The disk refuses.
        """
        row = self._video_rows.get(_known(split), {}).get(video_id)
        if row is None:
            raise DataError(f"caption {caption_id!r}: split {split} has no video {video_id!r}")
        ids = self._caption_ids.setdefault(split, set())
        if caption_id in ids:
            raise DataError(f"caption {caption_id!r} comes twice in split {split}")
        values: _Values = {"id": caption_id, "video": row, "text": text}
        self._append(split, "captions", values, (caption_id, video_id, text), tokens)
        ids.add(caption_id)
        self._captioned.setdefault(split, set()).add(video_id)

    def _append(
        self,
        split: str,
        kind: Kind,
        values: _Values,
        texts: tuple[str, ...],
        rows: np.ndarray,
    ) -> None:
        item = f"{kind[:-1]} {texts[0]!r} of split {split}"
        rows = stored_rows(item, rows, self._dims[kind], self._dtypes[kind])
        with self._disk():
            self._stream(split, kind).append(values, texts, rows)

    def _stream(self, split: str, kind: Kind) -> "_Stream":
        if (split, kind) not in self._streams:
            path = self._folder / file_name(split, kind)
            layout = schema(kind, self._dims[kind], self._dtypes[kind])
            self._streams[split, kind] = _Stream(path, layout)
        return self._streams[split, kind]

    def _commit(self) -> None:
        self._check_complete()
        with self._disk():
            for stream in self._streams.values():
                stream.finish()
            self._manifest = self._describe()
            content = json.dumps(self._manifest.model_dump(), indent=2) + "\n"
            with (self._folder / MANIFEST_NAME).open("w", encoding="utf-8") as file:
                file.write(content)
                _sync(file.fileno())
            sync_folder(self._folder)
            self._put_in_place()
            sync_folder(self.path.parent)

    def _check_complete(self) -> None:
        if not self._video_rows:
            raise DataError(f"no video was given for store {self.path}")
        for split, rows in self._video_rows.items():
            silent = [row for row in rows if row not in self._captioned.get(split, ())]
            if silent:
                raise DataError(
                    f"split {split} has {len(silent)} videos without a caption, "
                    f"the first is {silent[0]!r}"
                )

    def _describe(self) -> Manifest:
        dims = (self._dims["videos"], self._dims["captions"])
        dtypes = (self._dtypes["videos"], self._dtypes["captions"])
        files = {
            file_name(*place): FileRecord(
                size_bytes=stream.path.stat().st_size, content_sha256=stream.digest.hexdigest()
            )
            for place, stream in sorted(self._streams.items())
        }
        digests = {name: record.content_sha256 for name, record in files.items()}
        return Manifest(
            name=self.name,
            video_dim=dims[0],
            text_dim=dims[1],
            video_dtype=dtypes[0],
            text_dtype=dtypes[1],
            splits={name: self._counts(name) for name in SPLIT_NAMES if name in self._video_rows},
            files=files,
            source=self._source,
            fingerprint=fingerprint_of(dims, dtypes, digests),
        )

    def _counts(self, split: str) -> SplitCounts:
        videos, captions = self._streams[split, "videos"], self._streams[split, "captions"]
        return SplitCounts(
            videos=videos.num_items,
            captions=captions.num_items,
            frames=videos.num_rows,
            tokens=captions.num_rows,
        )

    def _put_in_place(self) -> None:
        # Checked again: another process may have made the target in the meantime.
        check_target(self.path, self._overwrite)
        if not self.path.exists():
            self._folder.rename(self.path)
            return
        old = self._folder.with_suffix(".old")
        self.path.rename(old)
        try:
            self._folder.rename(self.path)
        except BaseException:
            old.rename(self.path)
            raise
        # Trials that have the old files mapped keep them until they close them.
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(
                f"cannot write store {self.path}: {reason}; nothing was left behind"
            ) from error


class _Stream:
    """One Arrow file that grows by batches."""

    def __init__(self, path: Path, layout: pa.Schema) -> None:
        self.path = path
        self.digest = ContentDigest()
        self.num_items = 0
        self.num_rows = 0
        self._schema = layout
        self._values: list[_Values] = []
        self._rows: list[np.ndarray] = []
        self._bytes = 0
        with ExitStack() as stack:
            self._file = stack.enter_context(path.open("wb"))
            self._arrow = pa.ipc.new_file(self._file, layout)
            stack.pop_all()

    def append(self, values: _Values, texts: tuple[str, ...], rows: np.ndarray) -> None:
        self.digest.add(texts, rows)
        self._values.append(values)
        self._rows.append(rows)
        self._bytes += rows.nbytes
        self.num_items += 1
        self.num_rows += len(rows)
        if self._bytes >= _BATCH_BYTES:
            self._write_batch()

    def finish(self) -> None:
        if self._rows:
            self._write_batch()
        self._arrow.close()
        self._file.flush()
        _sync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        # Closing flushes, and a full disk refuses that too; the file is removed anyway.
        with suppress(OSError):
            self._file.close()

    def _write_batch(self) -> None:
        columns = []
        for field in self._schema:
            if field.name == "features":
                columns.append(_list_array(self._rows, field.type))
            else:
                columns.append(pa.array([value[field.name] for value in self._values], field.type))
        self._arrow.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._values, self._rows, self._bytes = [], [], 0


def stored_rows(item: str, rows: np.ndarray, dim: int, dtype: DTypeName) -> np.ndarray:
    """A copy of `rows` as a store keeps it: (rows, dim), contiguous, of type `dtype`.

    Args:
        item: What the rows are, for messages.
        rows: Features of a video or a caption, any floating type.
        dim: Dimension that is wanted.
        dtype: Type that is wanted.

    Raises:
        DataError: Wrong shape, no rows, or values that are not finite in `dtype`.
    """
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise DataError(f"{item} has shape {rows.shape}, expected (any number, {dim})")
    if not len(rows):
        raise DataError(f"{item} has no rows")
    with np.errstate(over="ignore"):
        stored = np.array(rows, dtype=np.dtype(dtype).newbyteorder("<"), order="C")
    # One pass without a temporary: in float64 the sum of finite values cannot overflow.
    if not math.isfinite(float(np.sum(stored, dtype=np.float64))):
        count = int(np.count_nonzero(~np.isfinite(stored)))
        raise DataError(f"{item} has {count} values that are NaN or infinite")
    return stored


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a target that must not be replaced.

    Raises:
        StoreError: A store is there and `overwrite` is false, or something else is there.
    """
    if not path.exists():
        return
    if not is_store(path):
        if path.is_dir() and not any(path.iterdir()):
            return
        raise StoreError(f"{path} exists and is not a feature store; remove it or name another")
    if not overwrite:
        raise StoreError(f"store {path} exists; give --overwrite to replace it")


def _known(split: str) -> str:
    if split not in SPLIT_NAMES:
        raise DataError(f"unknown split {split!r}; splits are {', '.join(SPLIT_NAMES)}")
    return split


def _list_array(items: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in items])]).astype(np.int64)
    flat = np.concatenate(items).reshape(-1)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind.value_type)
    return pa.LargeListArray.from_arrays(pa.array(offsets), rows, type=kind)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
