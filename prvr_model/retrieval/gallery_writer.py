"""Makes galleries, adds videos to them and removes some, while readers go on.

Parts are never changed: a change writes new ones, replaces the manifest by a rename, then deletes
files that no manifest names any more. A change that fails or is killed leaves the gallery as it
was; files that it left behind are deleted by the next change. One process changes a gallery at a
time, the others wait.
"""

import shlex
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from prvr_model.errors import GalleryError, did_you_mean
from prvr_model.files.durable import replace_file, sync_file
from prvr_model.files.file_lock import exclusive
from prvr_model.files.partial_folder import PartialFolder
from prvr_model.retrieval.gallery import read_part
from prvr_model.retrieval.gallery_encoding import EncodedBlock
from prvr_model.retrieval.gallery_format import (
    GALLERY_MANIFEST,
    LOCK_NAME,
    MODEL_FILES,
    MODEL_FOLDER,
    GalleryManifest,
    GalleryPart,
    VectorType,
    part_schema,
    read_gallery_manifest,
)
from prvr_model.retrieval.screen import screen_rows

# A batch is what a scan takes at a time; below some megabytes its calls would cost more than the
# work. A writer holds two of them.
_BATCH_BYTES = 64 * 2**20
# To remove a video its part is written again: parts stay small against a large gallery.
_PART_BYTES = 2**30
_SHOWN = 10


def create_gallery(
    path: Path, manifest: GalleryManifest, export: Path, blocks: Iterable[EncodedBlock]
) -> GalleryManifest:
    """Write a gallery: all of it appears at once, or nothing does.

    Args:
        path: Its folder, which must not exist.
        manifest: What it is, without parts.
        export: Folder of the model that encoded the blocks.
        blocks: Its videos.

    Raises:
        GalleryError: Something is at `path`, two videos have one name, or it cannot be written.
    """
    if path.exists():
        raise GalleryError(
            f"{path} exists; `prvr-sweep gallery add {shlex.quote(str(path))} SOURCE` adds to it; "
            "or name another folder"
        )
    partial = PartialFolder(path.absolute())
    try:
        with _told_as(path):
            partial.make()
            (partial.path / MODEL_FOLDER).mkdir()
            for name in MODEL_FILES:
                replace_file(partial.path / MODEL_FOLDER / name, (export / name).read_bytes())
            made = _appended(partial.path, manifest, blocks, set())
            _put(partial.path, made)
            partial.replace_target()
        return made
    finally:
        partial.remove()


def add_videos(path: Path, blocks: Iterable[EncodedBlock]) -> GalleryManifest:
    """Append videos to a gallery; searches see them from its next opening on.

    Raises:
        GalleryError: A name is in the gallery already, or it cannot be written.
    """

    def change(manifest: GalleryManifest) -> GalleryManifest:
        there = {
            name
            for part in manifest.parts
            for batch in read_part(path, manifest, part)
            for name in batch["video"].to_pylist()
        }
        return _appended(path, manifest, blocks, there)

    return change_gallery(path, change)


def remove_videos(path: Path, names: Sequence[str]) -> GalleryManifest:
    """Drop videos from a gallery; their vectors are on the disk no more.

    Raises:
        GalleryError: A name is not in the gallery (then nothing is removed), or it cannot be
            written.
    """

    def change(manifest: GalleryManifest) -> GalleryManifest:
        wanted, there = set(names), set[str]()
        parts: list[GalleryPart] = []
        for part in manifest.parts:
            batches = read_part(path, manifest, part)
            found = {name for batch in batches for name in batch["video"].to_pylist()}
            there |= found
            if found & wanted:
                parts += _written(path, manifest, _without(batches, wanted))
            else:
                parts.append(part)
        _refuse_strangers(path, names, there)
        return manifest.model_copy(update={"parts": parts})

    return change_gallery(path, change)


def change_gallery(
    path: Path, change: Callable[[GalleryManifest], GalleryManifest]
) -> GalleryManifest:
    """Replace a gallery's manifest by a changed one, then delete files that it does not name.

    Args:
        path: Folder of the gallery.
        change: Writes new files into the folder and returns the manifest that names them.

    Raises:
        GalleryError: It cannot be written.
    """
    read_gallery_manifest(path)
    with _told_as(path), exclusive(path / LOCK_NAME) as is_held:
        if not is_held:
            raise GalleryError(
                f"{path} cannot be changed: this user may not write there, or the file system has "
                "no locks"
            )
        manifest = read_gallery_manifest(path)
        try:
            changed = change(manifest)
            changed = changed.model_copy(update={"revision": manifest.revision + 1})
            _put(path, changed)
            manifest = changed
        finally:
            _delete_others(path, manifest)
    return manifest


def new_file(kind: str, ending: str) -> str:
    """A name that no file has, of a `part` or an `index`."""
    return f"{kind}-{uuid.uuid4().hex[:12]}.{ending}"


def _put(path: Path, manifest: GalleryManifest) -> None:
    replace_file(path / GALLERY_MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())


def _delete_others(path: Path, manifest: GalleryManifest) -> None:
    named = {part.file for part in manifest.parts}
    if manifest.index is not None:
        named.add(manifest.index.file)
    for file in [*path.glob("*.arrow"), *path.glob("*.faiss")]:
        if file.name not in named:
            with suppress(OSError):
                file.unlink()


@contextmanager
def _told_as(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise GalleryError(f"cannot write {path}: {reason}; nothing was changed") from error


def _appended(
    path: Path, manifest: GalleryManifest, blocks: Iterable[EncodedBlock], there: set[str]
) -> GalleryManifest:
    batches = _record_batches(manifest, blocks, there)
    parts = [*manifest.parts, *_written(path, manifest, batches)]
    added = sum(part.videos for part in parts) - manifest.num_videos
    return manifest.model_copy(update={"parts": parts, "next_id": manifest.next_id + added})


def _record_batches(
    manifest: GalleryManifest, blocks: Iterable[EncodedBlock], there: set[str]
) -> Iterator[pa.RecordBatch]:
    next_id = manifest.next_id
    for block in blocks:
        for name in block.names:
            if name in there:
                raise GalleryError(
                    f"video {name!r} comes twice, or is in the gallery already; remove it first, "
                    "or leave it out"
                )
            there.add(name)
        yield _record_batch(manifest, block, next_id)
        next_id += len(block.names)


def _record_batch(manifest: GalleryManifest, block: EncodedBlock, first_id: int) -> pa.RecordBatch:
    columns: dict[str, np.ndarray | list[Any]] = {
        "id": np.arange(first_id, first_id + len(block.names)),
        "video": list(block.names),
        "duration_s": block.durations_s,
        "frame_starts_s": block.times.starts_s.astype(np.float32),
        "frame_ends_s": block.times.ends_s.astype(np.float32),
        "clip_of_frame": block.clip_of_frame.astype(np.int32),
        "thumbnail": list(block.thumbnails),
        "clips": _bits(block.vectors.clips, manifest.dtype),
        "frames": _bits(block.vectors.frames, manifest.dtype),
    }
    if manifest.screen:
        columns |= _screen_columns(block, manifest.dtype)
    layout = part_schema(manifest)
    arrays = [_array(columns[entry.name], entry.type) for entry in layout]
    return pa.RecordBatch.from_arrays(arrays, schema=layout)


def _screen_columns(block: EncodedBlock, dtype: VectorType) -> dict[str, np.ndarray]:
    rows = torch.cat([block.vectors.clips, block.vectors.frames], dim=1)
    screen = screen_rows(rows.to(getattr(torch, dtype)))
    return {
        "screen": screen.codes.numpy(),
        "screen_step": screen.steps.numpy(),
        "screen_error": screen.errors.numpy(),
    }


def _bits(rows: Tensor, dtype: VectorType) -> np.ndarray:
    if dtype == "float32":
        return rows.numpy()
    return rows.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def _array(values: np.ndarray | list[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _without(batches: Sequence[pa.RecordBatch], names: set[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        kept = [name not in names for name in batch["video"].to_pylist()]
        if any(kept):
            yield batch.filter(pa.array(kept))


def _refuse_strangers(path: Path, names: Sequence[str], there: set[str]) -> None:
    strangers = [name for name in names if name not in there]
    if strangers:
        shown = ", ".join(map(repr, strangers[:_SHOWN]))
        more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
        raise GalleryError(
            f"{path} has no video {shown}{more}{did_you_mean(strangers[0], there)}; nothing was "
            "removed"
        )


@dataclass
class _Part:
    """A part in the making."""

    path: Path
    file: str
    layout: pa.Schema
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    videos: int = 0

    def __post_init__(self) -> None:
        self._stream = (self.path / self.file).open("xb")
        self._arrow = pa.ipc.new_file(self._stream, self.layout)

    def append(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        self.videos += len(batch)
        if sum(waiting.nbytes for waiting in self.waiting) >= _BATCH_BYTES:
            self._write()

    @property
    def is_full(self) -> bool:
        return self._stream.tell() >= _PART_BYTES

    def finish(self) -> GalleryPart:
        if self.waiting:
            self._write()
        self._arrow.close()
        sync_file(self._stream)
        self._stream.close()
        size = (self.path / self.file).stat().st_size
        return GalleryPart(file=self.file, size_bytes=size, videos=self.videos)

    def _write(self) -> None:
        whole = pa.Table.from_batches(self.waiting).combine_chunks()
        for batch in whole.to_batches():
            self._arrow.write_batch(batch)
        self.waiting = []


def _written(
    path: Path, manifest: GalleryManifest, batches: Iterable[pa.RecordBatch]
) -> list[GalleryPart]:
    """Write batches as parts; files of a change that fails are deleted by `change_gallery`."""
    done: list[GalleryPart] = []
    part: _Part | None = None
    for batch in batches:
        part = part or _Part(path, new_file("part", "arrow"), part_schema(manifest))
        part.append(batch)
        if part.is_full:
            done.append(part.finish())
            part = None
    return [*done, part.finish()] if part else done
