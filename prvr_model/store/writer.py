"""Writes a feature store as a stream: all of it appears at once, or nothing does.

Items go to a hidden folder beside the target in bounded batches; the folder is renamed when
everything is on disk, and removed on any error or interrupt.
"""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from prvr_model.errors import DataError, StoreError
from prvr_model.files.durable import sync_file
from prvr_model.files.partial_folder import PartialFolder, nearest_folder
from prvr_model.store.annotations import (
    NOTHING_KNOWN,
    CaptionAnnotation,
    caption_bytes,
    video_bytes,
)
from prvr_model.store.arrow_file import ArrowFile, Values, stored_rows
from prvr_model.store.format import (
    MANIFEST_NAME,
    SPLIT_NAMES,
    DTypeName,
    FileRecord,
    Kind,
    Manifest,
    SplitCounts,
    ZeroRows,
    file_name,
    fingerprint_of,
    is_store,
    schema,
    size_text,
)
from prvr_model.store.recipe import FeatureRecipe

_NAMED_ZEROS = 3
_MAKE_ROOM = "make room there, or name a folder on another disk"


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
        recipe: How the features were made; None if that is not known.
        seconds_per_row: Time between two frames of a video; None if that is not known.
        overwrite: Replace an existing store. Any other existing folder is refused.

    Raises:
        StoreError: The target exists, or cannot be written.
    """

    # Ten: each but the path and `overwrite` is a field of the manifest that the caller knows.
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
        recipe: FeatureRecipe | None = None,
        seconds_per_row: float | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = path.resolve()
        self.name = name
        self._dims: dict[Kind, int] = {"videos": video_dim, "captions": text_dim}
        self._dtypes: dict[Kind, DTypeName] = {"videos": video_dtype, "captions": text_dtype}
        self._source = dict(source or {})
        self._recipe = recipe
        self._seconds_per_row = seconds_per_row
        self._overwrite = overwrite
        self._partial = PartialFolder(self.path)
        self._streams: dict[tuple[str, Kind], ArrowFile] = {}
        self._video_rows: dict[str, dict[str, int]] = {}
        self._captioned: dict[str, set[str]] = {}
        self._caption_ids: dict[str, set[str]] = {}
        self._zeros: dict[tuple[Kind, bool], list[str]] = {}
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        """Manifest of the store; known after the block."""
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

    def add_video(
        self, split: str, video_id: str, frames: np.ndarray, duration_s: float = math.nan
    ) -> None:
        """Append a video.

        Args:
            split: train, val or test.
            video_id: Id of the video, new in this split.
            frames: (T, video_dim), T >= 1, finite after conversion to the store's type.
            duration_s: Its length in seconds; NaN if it is not known.

        Raises:
            DataError: The frames, the id or the duration cannot be stored.
            StoreError: The store cannot be written.
        """
        rows = self._video_rows.setdefault(_known(split), {})
        if video_id in rows:
            raise DataError(f"video {video_id!r} comes twice in split {split}")
        if duration_s <= 0 or math.isinf(duration_s):
            raise DataError(f"video {video_id!r} of split {split} lasts {duration_s} s")
        values: Values = {"id": video_id, "duration_s": duration_s}
        item = _Item(values, (video_id,), frames, video_bytes(duration_s))
        self._append(split, "videos", item)
        rows[video_id] = len(rows)

    # Seven: a caption has five properties that files know, and what is annotated.
    def add_caption(
        self,
        split: str,
        caption_id: str,
        video_id: str,
        text: str,
        tokens: np.ndarray,
        annotation: CaptionAnnotation = NOTHING_KNOWN,
    ) -> None:
        """Append a caption of a video that was added before.

        Args:
            split: Split of its video.
            caption_id: Id of the caption, new in this split.
            video_id: The video that it describes.
            text: The caption as written.
            tokens: (L, text_dim), L >= 1; the last row is the sentence vector.
            annotation: What else is known; its relevant videos were added before.

        Raises:
            DataError: No such video, or the tokens, the id or the annotation cannot be stored.
            StoreError: The store cannot be written.
        """
        row = self._video_row(split, caption_id, video_id)
        ids = self._caption_ids.setdefault(split, set())
        if caption_id in ids:
            raise DataError(f"caption {caption_id!r} comes twice in split {split}")
        moments = _checked_moments(caption_id, annotation)
        relevant = sorted(
            {self._video_row(split, caption_id, video) for video in annotation.relevant}
        )
        values: Values = {
            "id": caption_id,
            "video": row,
            "text": text,
            "moments": moments,
            "relevant": relevant,
            "query_type": annotation.query_type,
        }
        texts = (caption_id, video_id, text)
        known = caption_bytes(moments, relevant, annotation.query_type)
        self._append(split, "captions", _Item(values, texts, tokens, known))
        ids.add(caption_id)
        self._captioned.setdefault(split, set()).add(video_id)

    def _video_row(self, split: str, caption_id: str, video_id: str) -> int:
        row = self._video_rows.get(_known(split), {}).get(video_id)
        if row is None:
            raise DataError(f"caption {caption_id!r}: split {split} has no video {video_id!r}")
        return row

    def _append(self, split: str, kind: Kind, item: "_Item") -> None:
        what = f"{kind[:-1]} {item.texts[0]!r} of split {split}"
        rows = stored_rows(what, item.rows, self._dims[kind], self._dtypes[kind])
        with self._disk():
            self._stream(split, kind).append(item.values, item.texts, rows, item.annotation)
        if not rows[-1].any():
            self._zeros.setdefault((kind, not rows.any()), []).append(item.texts[0])

    def _stream(self, split: str, kind: Kind) -> ArrowFile:
        if (split, kind) not in self._streams:
            path = self._partial.path / file_name(split, kind)
            layout = schema(kind, self._dims[kind], self._dtypes[kind])
            self._streams[split, kind] = ArrowFile(path, layout)
        return self._streams[split, kind]

    def _commit(self) -> None:
        self._check_complete()
        with self._disk():
            for stream in self._streams.values():
                stream.finish()
            self._manifest = self._describe()
            content = json.dumps(self._manifest.model_dump(), indent=2) + "\n"
            with (self._partial.path / MANIFEST_NAME).open("w", encoding="utf-8") as file:
                file.write(content)
                sync_file(file)
            # Checked again: another process may have made the target in the meantime.
            check_target(self.path, self._overwrite)
            self._partial.replace_target()

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
            recipe=self._recipe,
            seconds_per_row=self._seconds_per_row,
            zero_rows=[
                ZeroRows(kind=kind, are_all=are_all, count=len(ids), first=ids[:_NAMED_ZEROS])
                for (kind, are_all), ids in self._zeros.items()
            ],
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

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = f"; {_MAKE_ROOM}" if full else ""
            raise StoreError(
                f"cannot write store {self.path}: {reason}; nothing was left behind{remedy}"
            ) from error


@dataclass(frozen=True)
class _Item:
    """A video or a caption on its way to its file."""

    values: Values
    texts: tuple[str, ...]
    rows: np.ndarray
    annotation: bytes


def _checked_moments(caption_id: str, annotation: CaptionAnnotation) -> list[list[float]]:
    for start, end in annotation.moments:
        if not 0 <= start < end < math.inf:
            raise DataError(f"caption {caption_id!r} has a moment from {start} s to {end} s")
    return [[float(start), float(end)] for start, end in annotation.moments]


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a target that must not be replaced or cannot be written.

    Raises:
        StoreError: A store exists and `overwrite` is false, another file or folder exists, or the
            folder around it cannot be written.
    """
    try:
        _refuse_what_is_there(path, overwrite)
        around = nearest_folder(path.absolute().parent)
    except OSError as error:
        raise StoreError(f"cannot write store {path}: {error.strerror}") from error
    if not around.is_dir():
        raise StoreError(f"cannot write store {path}: {around} is a file, not a folder")
    if not os.access(around, os.W_OK | os.X_OK):
        raise StoreError(
            f"cannot write store {path}: {around} is not writable for this user; name another place"
        )


def _refuse_what_is_there(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not is_store(path):
        if path.is_dir() and not any(path.iterdir()):
            return
        raise StoreError(f"{path} exists and is not a feature store; remove it or name another")
    if not overwrite:
        raise StoreError(f"store {path} exists; give --overwrite to replace it")


def check_room(path: Path, num_bytes: int) -> None:
    """Refuse to begin a store that its disk has no room for.

    Args:
        path: Folder of the store.
        num_bytes: What its features take.

    Raises:
        StoreError: Says what is free.
    """
    around = nearest_folder(path.absolute().parent)
    disk = shutil.disk_usage(around)
    # File systems that count no bytes have none in all.
    if disk.total and num_bytes > disk.free:
        raise StoreError(
            f"cannot write store {path}: its features take {size_text(num_bytes)}, {around} has "
            f"{size_text(disk.free)} free; {_MAKE_ROOM}"
        )


def _known(split: str) -> str:
    if split not in SPLIT_NAMES:
        raise DataError(f"unknown split {split!r}; splits are {', '.join(SPLIT_NAMES)}")
    return split
