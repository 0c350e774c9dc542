"""Makes the arrays of a split that depend on its features alone, in one pass over the store.

Frames, clips, segment plans and tokens are groups of their own in the cache, each with its own
key: a sweep over merge ratios makes clips and plans anew, one over levels only plans, one over
tau or the weights of losses nothing. Groups that are made together share the resampled frames.

Source: the MSC paper, inputs, OP-ToMe and CBVA's plans.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from prvr_model.files.array_files import ArrayFile, ArrayWriter
from prvr_model.inputs.buffers import ReusedMemory
from prvr_model.inputs.prepared_cache import Arrays
from prvr_model.inputs.raw_videos import CHUNK, merged_clips
from prvr_model.inputs.resampling import normalise_rows, resample, widen
from prvr_model.inputs.token_merging import (
    inner_products,
    plans_from_products,
    tree_from_products,
)
from prvr_model.settings import Settings
from prvr_model.store.format import Manifest
from prvr_model.store.reader import StoreSplit

# Only this split has losses, and so CBVA's segments; others are only evaluated.
_TRAINED = "train"


class Preparation:
    """Groups of arrays of a split.

    Args:
        split: Raw features.
        manifest: Dimensions of the features.
        settings: Sizes, merging and levels.
    """

    def __init__(self, split: StoreSplit, manifest: Manifest, settings: Settings) -> None:
        self._split = split
        self._dims = manifest.video_dim, manifest.text_dim
        self._model = settings.model
        uses_segments = split.name == _TRAINED and settings.losses.uses_cbva
        self._levels = settings.segment_levels if uses_segments else None

    def keys(self) -> dict[str, dict[str, object]]:
        """What each group depends on besides the store."""
        split, model = self._split.name, self._model
        frames = {"split": split, "num_frames": model.num_frames}
        targets = model.merge_targets if model.clips == "op_tome" else None
        merging = {"clips": model.clips, "num_clips": model.num_clips, "targets": targets}
        keys: dict[str, dict[str, object]] = {
            "frames": {**frames},
            "clips": {**frames, **merging},
            "tokens": {"split": split, "max_tokens": model.max_caption_tokens},
        }
        if self._levels is not None:
            keys["segments"] = {**frames, **merging, "levels": self._levels}
        return keys

    def build(self, writers: Mapping[str, ArrayWriter], found: Mapping[str, Arrays]) -> None:
        """Write the arrays of the groups that have writers.

        Args:
            writers: Writers of the missing groups.
            found: Arrays of the existing groups.
        """
        # All files are made first: a full disk is noticed before anything is computed.
        files = self._video_files(writers)
        offsets = self._token_offsets()
        token_files = self._token_files(writers, offsets)
        if files:
            num_videos = len(self._split.video_ids)
            _write_chunks(num_videos, files, partial(self._videos, files.keys(), found))
        if token_files:
            _write_chunks(len(offsets) - 1, token_files, self._tokens, offsets)

    def _video_files(self, writers: Mapping[str, ArrayWriter]) -> dict[str, ArrayFile]:
        """The files of the groups of videos that have writers, by their arrays' names."""
        num_videos, model = len(self._split.video_ids), self._model
        frames, clips, dim = model.num_frames, model.num_clips, self._dims[0]
        shapes: dict[str, dict[str, tuple[tuple[int, ...], type[np.generic]]]] = {
            "frames": {"frames": ((frames, dim), np.float32)},
            "clips": {
                "clips": ((clips, dim), np.float32),
                "sizes": ((clips,), np.float32),
                "frame_to_clip": ((frames,), np.int64),
            },
            "segments": {
                "plans": ((len(self._levels or ()), clips), np.int64),
                "tree": ((clips - 1,), np.float64),
            },
        }
        return {
            name: writers[group].create(name, (num_videos, *shape), dtype)
            for group, arrays in shapes.items()
            if group in writers
            for name, (shape, dtype) in arrays.items()
        }

    def _videos(
        self,
        wanted: Collection[str],
        found: Mapping[str, Arrays],
        videos: slice,
        memory: ReusedMemory,
    ) -> dict[str, np.ndarray]:
        """The wanted arrays of some videos, in `memory`, by their names."""
        made: dict[str, np.ndarray] = {}
        if "frames" in wanted or "clips" in wanted:
            raw = self._resampled(videos, memory)
            made["frames"] = normalise_rows(raw, memory.array("frames", raw.shape, np.float32))
        if "clips" in wanted:
            made["clips"], made["sizes"], made["frame_to_clip"] = merged_clips(
                raw, self._model, memory
            )
        elif "plans" in wanted:
            made["clips"], made["sizes"] = (
                found["clips"][name][videos] for name in ("clips", "sizes")
            )
        if "plans" in wanted:
            products = inner_products(made["clips"])
            made["tree"] = tree_from_products(products)
            made["plans"] = plans_from_products(products, made["sizes"], self._levels or ())
        return made

    def _resampled(
        self, videos: slice, memory: ReusedMemory
    ) -> Float[np.ndarray, "videos frames dim"]:
        rows = [self._split.frames(video) for video in range(videos.start, videos.stop)]
        return resample(rows, self._model.num_frames, memory)

    def _token_offsets(self) -> Int[np.ndarray, "captions_plus_one"]:
        """First token of each caption among those kept, and the end."""
        lengths = np.minimum(self._split.num_tokens, self._model.max_caption_tokens)
        return np.concatenate([[0], np.cumsum(lengths)])

    def _token_files(
        self, writers: Mapping[str, ArrayWriter], offsets: Int[np.ndarray, "captions_plus_one"]
    ) -> dict[str, ArrayFile]:
        """The file of the tokens, if it is to be written."""
        if "tokens" not in writers:
            return {}
        writer, shape = writers["tokens"], (int(offsets[-1]), self._dims[1])
        writer.create("offsets", offsets.shape, np.int64)[:] = offsets
        return {"tokens": writer.create("tokens", shape, np.float32)}

    def _tokens(self, captions: slice, memory: ReusedMemory) -> dict[str, np.ndarray]:
        """Normalised tokens of some captions, cut to the maximum length, in `memory`."""
        rows = [self._split.tokens(number) for number in range(captions.start, captions.stop)]
        raw = np.concatenate([row[: self._model.max_caption_tokens] for row in rows])
        tokens = memory.array("tokens", raw.shape, np.float32)
        widen(raw, tokens)
        return {"tokens": normalise_rows(tokens, tokens)}


def _write_chunks(
    total: int,
    files: Mapping[str, ArrayFile],
    make: Callable[[slice, ReusedMemory], Mapping[str, np.ndarray]],
    offsets: np.ndarray | None = None,
) -> None:
    """Write arrays chunk by chunk in one thread; several would only wait for Python's lock.

    Args:
        total: Number of videos or captions.
        files: What is written of each chunk, by names.
        make: Makes the arrays of a chunk in some memory.
        offsets: First row of each video or caption, and the end; without it, each has one row.
    """
    memory = ReusedMemory()
    for start in range(0, total, CHUNK):
        chunk = slice(start, min(start + CHUNK, total))
        first, end = (
            (chunk.start, chunk.stop) if offsets is None else offsets[[chunk.start, chunk.stop]]
        )
        made = make(chunk, memory)
        for name, file in files.items():
            file[first:end] = made[name]
