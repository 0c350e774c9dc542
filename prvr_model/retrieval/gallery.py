"""Reads a gallery: memory-mapped parts whose vectors are views of the page cache.

A reader sees the gallery as it was when it was opened; adding and removing disturb nothing.
"""

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from prvr_model.errors import GalleryError
from prvr_model.network.model_file import exported_settings
from prvr_model.retrieval.gallery_format import (
    MODEL_FOLDER,
    GalleryManifest,
    GalleryPart,
    part_schema,
    read_gallery_manifest,
)
from prvr_model.retrieval.moments import FrameTimes
from prvr_model.settings import ModelSettings

# A part that is missing was replaced after the manifest was read: the new manifest names another.
# A writer would have to change the gallery this often within milliseconds.
_TRIES = 5
# numpy's types of the same size.
_BITS: dict[torch.dtype, np.dtype] = {
    torch.bfloat16: np.dtype(np.int16),
    torch.float32: np.dtype(np.float32),
    torch.int8: np.dtype(np.int8),
}


@dataclass(frozen=True)
class Shard:
    """A share of a gallery's batches: number `index` of `count`."""

    index: int = 0
    count: int = 1


WHOLE = Shard()


@dataclass(frozen=True)
class ScreenRows:
    """Vectors of some videos, clips before frames, rounded to a byte a value.

    Args:
        codes: -127 to 127.
        steps: What a code of 1 is worth in each video, float32.
        errors: Norm of what rounding changed, of the row of each video that it changed most.
    """

    codes: Int8[Tensor, "videos rows hidden"]
    steps: Float[Tensor, "videos"]
    errors: Float[Tensor, "videos"]


@dataclass(frozen=True)
class GalleryBatch:
    """Some videos that lie one after the other in a file; vectors of norm 1.

    Args:
        start: Position of the first in the gallery.
        clips: Vectors of clips, mapped, bfloat16 or float32.
        frames: The same of frames.
        columns: All columns.
        screen: The same vectors for the screen of a scan; None: the gallery has none.
    """

    start: int
    clips: Tensor
    frames: Tensor
    columns: pa.RecordBatch
    screen: ScreenRows | None

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True)
class GalleryVideos:
    """What a gallery knows of some videos besides their vectors."""

    ids: Sequence[int]
    names: Sequence[str]
    durations_s: Float[np.ndarray, "videos"]
    times: FrameTimes
    clip_of_frame: Int[np.ndarray, "videos frames"]


class GalleryReader:
    """A gallery on disk, opened with `GalleryReader.open`."""

    def __init__(
        self, path: Path, manifest: GalleryManifest, batches: Sequence[GalleryBatch]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.batches = batches
        self._starts = [batch.start for batch in batches]

    @classmethod
    def open(cls, path: Path, shard: Shard = WHOLE) -> "GalleryReader":
        """Open the gallery at `path`; sizes are checked, content is not.

        Args:
            path: Folder of the gallery.
            shard: The share that is mapped; positions are those in the whole gallery.

        Raises:
            GalleryError: There is no gallery, its version is unknown, or files are missing or
                damaged.
        """
        path = path.absolute()
        manifest = read_gallery_manifest(path)
        for _ in range(_TRIES):
            try:
                batches = list(_batches(path, manifest))
                return cls(path, manifest, batches[shard.index :: shard.count])
            except FileNotFoundError as error:
                before, manifest = manifest, read_gallery_manifest(path)
                if manifest == before:
                    raise _damaged(path, f"{error.filename or error} is missing") from None
        raise _damaged(path, "it changes faster than it can be opened")

    @cached_property
    def settings(self) -> ModelSettings:
        """Settings of the network that made it."""
        return exported_settings(self.path / MODEL_FOLDER).model

    @property
    def num_videos(self) -> int:
        """Number of videos of this reader's share."""
        return sum(len(batch) for batch in self.batches)

    @cached_property
    def ids(self) -> Int[np.ndarray, "videos"]:
        """Id of each video of this reader's share, ascending."""
        parts = [_numbers(batch.columns["id"], np.dtype(np.int64)) for batch in self.batches]
        return np.concatenate([np.empty(0, np.int64), *parts])

    @cached_property
    def positions(self) -> Int[np.ndarray, "videos"]:
        """Position in the whole gallery of each video of this reader's share, ascending."""
        parts = [np.arange(batch.start, batch.start + len(batch)) for batch in self.batches]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def names(self) -> Iterator[str]:
        """Names of all videos of this reader's share, in order."""
        for batch in self.batches:
            yield from batch.columns["video"].to_pylist()

    def mapped(
        self, position: int
    ) -> tuple[Float[Tensor, "clips hidden"], Float[Tensor, "frames hidden"]]:
        """Clips and frames of a video, mapped: bfloat16 or float32."""
        batch, row = self._place(position)
        return batch.clips[row], batch.frames[row]

    def coded(self, position: int) -> Int8[Tensor, "rows hidden"]:
        """A video's vectors for the screen of a scan, mapped; the gallery must have it."""
        batch, row = self._place(position)
        assert batch.screen is not None, "the manifest says so"
        return batch.screen.codes[row]

    @cached_property
    def screen_errors(self) -> tuple[Float[Tensor, "videos"], Float[Tensor, "videos"]]:
        """Steps and errors of `ScreenRows`, of all videos of this reader's share."""
        parts = [batch.screen for batch in self.batches if batch.screen is not None]
        return torch.cat([part.steps for part in parts]), torch.cat([part.errors for part in parts])

    def vectors(
        self, positions: Int[np.ndarray, "videos"]
    ) -> tuple[Float[Tensor, "videos clips hidden"], Float[Tensor, "videos frames hidden"]]:
        """Copies of clips and frames of some videos, float32.

        Args:
            positions: Ascending.
        """
        parts = list(self._by_batch(positions))
        clips, frames = (
            torch.cat([getattr(batch, name)[rows] for batch, rows in parts]).float()
            for name in ("clips", "frames")
        )
        return clips, frames

    def videos(self, positions: Int[np.ndarray, "videos"]) -> GalleryVideos:
        """Names, times and clips of some videos, in the order given."""
        order = np.argsort(positions, kind="stable")
        back = np.argsort(order)
        parts = list(self._by_batch(positions[order]))
        tables = [
            batch.columns.select(_ABOUT).take(pa.array(rows.numpy())) for batch, rows in parts
        ]
        about = pa.Table.from_batches(tables).take(pa.array(back)).combine_chunks()
        frames = self.manifest.num_frames
        times = [
            _numbers(about[name].chunk(0).values, np.dtype(np.float32)).reshape(-1, frames)
            for name in ("frame_starts_s", "frame_ends_s")
        ]
        clips = _numbers(about["clip_of_frame"].chunk(0).values, np.dtype(np.int32))
        return GalleryVideos(
            ids=about["id"].to_pylist(),
            names=about["video"].to_pylist(),
            durations_s=np.array(about["duration_s"].to_pylist(), np.float64),
            times=FrameTimes(*(rows.astype(np.float64) for rows in times)),
            clip_of_frame=clips.reshape(-1, frames).astype(np.int64),
        )

    def thumbnail(self, position: int) -> bytes | None:
        """A video's thumbnail, a JPEG file; None: it has none."""
        batch, row = self._place(position)
        found: bytes | None = batch.columns["thumbnail"][row].as_py()
        return found

    def _place(self, position: int) -> tuple[GalleryBatch, int]:
        """The batch that holds a video, and its row there."""
        batch = self.batches[bisect_right(self._starts, position) - 1]
        return batch, position - batch.start

    def _by_batch(
        self, positions: Int[np.ndarray, "videos"]
    ) -> Iterator[tuple[GalleryBatch, Int[Tensor, "rows"]]]:
        """The batches that hold some videos, ascending, with the rows of these."""
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        bounds = np.flatnonzero(np.diff(owners)) + 1
        for group in np.split(np.arange(len(positions)), bounds):
            if len(group):
                batch = self.batches[owners[group[0]]]
                yield batch, torch.from_numpy(positions[group] - batch.start)


_ABOUT = ["id", "video", "duration_s", "frame_starts_s", "frame_ends_s", "clip_of_frame"]


def _batches(path: Path, manifest: GalleryManifest) -> Iterator[GalleryBatch]:
    start = 0
    for part in manifest.parts:
        for columns in read_part(path, manifest, part):
            clips, frames = (
                _mapped(columns[name], getattr(torch, manifest.dtype)).view(
                    len(columns), rows, manifest.hidden
                )
                for name, rows in (
                    ("clips", manifest.num_clips),
                    ("frames", manifest.num_frames),
                )
            )
            screen = _screen(columns, manifest) if manifest.screen else None
            yield GalleryBatch(start, clips, frames, columns, screen)
            start += len(columns)


def read_part(path: Path, manifest: GalleryManifest, part: GalleryPart) -> list[pa.RecordBatch]:
    """Mapped batches of a part.

    Raises:
        FileNotFoundError: It is not there.
        GalleryError: It is not what the manifest says.
    """
    file = path / part.file
    if (size := file.stat().st_size) != part.size_bytes:
        raise _damaged(path, f"{part.file} has {size} bytes instead of {part.size_bytes}")
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except pa.ArrowException as error:
        raise _damaged(path, f"{part.file}: {error}") from error
    if reader.schema != part_schema(manifest) or sum(map(len, batches)) != part.videos:
        raise _damaged(path, f"{part.file} is not what the manifest says")
    return batches


def _screen(columns: pa.RecordBatch, manifest: GalleryManifest) -> ScreenRows:
    codes = _mapped(columns["screen"], torch.int8)
    steps, errors = (
        _mapped(columns[name], torch.float32) for name in ("screen_step", "screen_error")
    )
    rows = manifest.num_clips + manifest.num_frames
    return ScreenRows(codes.view(len(columns), rows, manifest.hidden), steps, errors)


def _mapped(column: pa.Array, dtype: torch.dtype) -> Tensor:
    values = column.values if pa.types.is_fixed_size_list(column.type) else column
    with warnings.catch_warnings():
        # The file is mapped read-only, and nothing here writes into it.
        warnings.filterwarnings("ignore", ".*not writable.*", UserWarning)
        return torch.from_numpy(_numbers(values, _BITS[dtype])).view(dtype)


def _numbers(column: pa.Array, dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)


def _damaged(path: Path, problem: str) -> GalleryError:
    return GalleryError(f"{path} is damaged: {problem}; build the gallery again")
