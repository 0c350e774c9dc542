"""Batches of videos with all their captions, as tensors on the model's device."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prvr_model.inputs.buffers import ReusedMemory
from prvr_model.inputs.prepared_split import PreparedSplit
from prvr_model.inputs.threads import in_parts
from prvr_model.process_group import ALONE, BatchShards, Shards, Workers

# Tells apart the streams of random numbers that one seed gives.
_ORDER_STREAM, _NEGATIVES_STREAM, _DROPOUT_STREAM, _WEIGHTS_STREAM = range(4)


@dataclass(frozen=True)
class Batch:
    """Videos and all their captions; captions follow their videos' order.

    With several workers each holds its own videos and captions, and of all other captions only
    what the loss needs.

    Args:
        frames: Resampled frames, rows of norm 1.
        clips: Clips, rows of norm 1.
        clip_sizes: Frames in each clip.
        frame_to_clip: Clip of each frame.
        segment_of_clip: CBVA segment of each clip.
        tokens: Caption tokens, rows of norm 1, zero where padding.
        tokens_valid: True for tokens, False for padding.
        teacher: The foundation model's sentence vector of every caption of all workers: its last
            valid token.
        video_of_caption: Row of each caption's video, both counted over all workers.
        ignored: Pairs of a caption and another video that it is known to be right for, which are no
            negatives, both counted over all workers; None: pairs of all others are negatives.
        given_spread: How the global batch is spread over workers; None if this is all of it.
    """

    frames: Float[Tensor, "videos frames dim"]
    clips: Float[Tensor, "videos clips dim"]
    clip_sizes: Float[Tensor, "videos clips"]
    frame_to_clip: Int[Tensor, "videos frames"]
    segment_of_clip: Int[Tensor, "videos clips"]
    tokens: Float[Tensor, "captions length text_dim"]
    tokens_valid: Bool[Tensor, "captions length"]
    teacher: Float[Tensor, "all_captions text_dim"]
    video_of_caption: Int[Tensor, "all_captions"]
    ignored: Bool[Tensor, "all_captions all_videos"] | None = None
    given_spread: BatchShards | None = None

    @property
    def spread(self) -> BatchShards:
        """How the global batch is spread over workers."""
        alone = BatchShards(Shards((len(self.frames),)), Shards((len(self.tokens),)))
        return self.given_spread or alone

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device; a copy from pinned memory to a GPU does not wait."""
        to_gpu = device.type == "cuda"
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=to_gpu) for name, value in self.tensors().items()
        }
        return replace(self, **moved)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class CaptionTokens:
    """Padded token features of some captions."""

    features: Float[Tensor, "captions length text_dim"]
    valid: Bool[Tensor, "captions length"]


def stream_seed(seed: int, stream: int, *position: int) -> int:
    """Seed of a stream of random numbers at a position in training, e.g. (epoch, step)."""
    entropy = np.random.SeedSequence([seed, stream, *position])
    return int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(
    num_videos: int, batch_videos: int, seed: int, epoch: int
) -> list[Int[np.ndarray, "batch"]]:
    """Videos of each batch of an epoch, a function of seed and epoch alone.

    A single video left over joins the batch before it: alone it has no negatives.
    """
    order = np.random.default_rng(stream_seed(seed, _ORDER_STREAM, epoch)).permutation(num_videos)
    bounds = list(range(batch_videos, num_videos, batch_videos))
    if bounds and num_videos - bounds[-1] == 1:
        bounds.pop()
    return np.split(order, bounds)


def steps_per_epoch(num_videos: int, batch_videos: int) -> int:
    """Number of batches of an epoch."""
    return len(epoch_order(num_videos, batch_videos, seed=0, epoch=0))


def draws_for_step(
    seed: int, epoch: int, step: int, sizes: tuple[int, ...], device: torch.device
) -> list[Float[Tensor, "size"]]:
    """Uniform draws in [0, 1) of some sizes, a function of seed, epoch and step alone."""
    generator = np.random.default_rng(stream_seed(seed, _NEGATIVES_STREAM, epoch, step))
    return [torch.from_numpy(generator.random(size, dtype=np.float32)).to(device) for size in sizes]


def dropout_seed(seed: int, epoch: int) -> int:
    """Seed of the device's generator at the start of an epoch."""
    return stream_seed(seed, _DROPOUT_STREAM, epoch)


def weights_seed(seed: int) -> int:
    """Seed of the weights' first values."""
    return stream_seed(seed, _WEIGHTS_STREAM)


def make_batch(
    split: PreparedSplit,
    videos: Int[np.ndarray, "batch"],
    device: torch.device,
    memory: ReusedMemory | None = None,
    threads: int = 1,
    workers: Workers = ALONE,
) -> Batch:
    """Tensors of some videos and all their captions; with several workers, of this worker's part.

    Args:
        split: The prepared split.
        videos: Rows of the split, for all workers.
        device: Device of the tensors.
        memory: Memory that the batch is gathered in; without it, new memory. On the CPU the
            batch's tensors *are* that memory, and are valid until it is used for another batch.
        threads: Threads that copy; a single one is bound by the memory's latency.
        workers: The processes that share the batch.
    """
    captions = split.captions_of(videos)
    counts = split.caption_starts[videos + 1] - split.caption_starts[videos]
    spread = _spread(counts, workers)
    own = videos[spread.videos.rows(workers.rank)]
    index, valid = _token_index(split, captions[spread.captions.rows(workers.rank)])
    last_tokens = split.token_offsets[captions + 1] - 1
    gathering = _Gathering(memory or ReusedMemory())
    rows = {
        "frames": gathering.add("frames", split.frames, own),
        "clips": gathering.add("clips", split.clips, own),
        "clip_sizes": gathering.add("clip_sizes", split.clip_sizes, own),
        "frame_to_clip": gathering.add("frame_to_clip", split.frame_to_clip, own),
        "segment_of_clip": gathering.add("segment_of_clip", split.segment_of_clip, own),
        "tokens": gathering.add("tokens", split.tokens, index, valid),
        "teacher": gathering.add("teacher", split.tokens, last_tokens),
    }
    gathering.run(threads)
    rows["tokens_valid"] = gathering.copy("tokens_valid", valid)
    owners = np.repeat(np.arange(len(videos)), counts)
    rows["video_of_caption"] = gathering.copy("video_of_caption", owners)
    if split.relevant is not None:
        rows["ignored"] = gathering.copy("ignored", split.relevant.others(captions, videos, owners))
    tensors = {name: _tensor(values, device) for name, values in rows.items()}
    return Batch(**tensors, given_spread=spread)


def _spread(num_captions: Int[np.ndarray, "batch"], workers: Workers) -> BatchShards:
    """Even shards of the videos, given each one's number of captions."""
    videos = Shards.even(len(num_captions), workers.size)
    rows = (videos.rows(worker) for worker in range(workers.size))
    return BatchShards(videos, Shards(tuple(int(num_captions[part].sum()) for part in rows)))


def pad_tokens(
    split: PreparedSplit, captions: Int[np.ndarray, "batch"], device: torch.device
) -> CaptionTokens:
    """Tokens of some captions, padded with zeros to the longest of them."""
    index, valid = _token_index(split, captions)
    gathering = _Gathering(ReusedMemory())
    features = gathering.add("tokens", split.tokens, index, valid)
    gathering.run(threads=1)
    return CaptionTokens(_tensor(features, device), _tensor(valid, device))


def _token_index(
    split: PreparedSplit, captions: Int[np.ndarray, "batch"]
) -> tuple[Int[np.ndarray, "batch length"], Bool[np.ndarray, "batch length"]]:
    """Row of each token (for padding, of the caption's last token), and where tokens are."""
    starts = split.token_offsets[captions]
    lengths = split.token_offsets[captions + 1] - starts
    columns = np.arange(lengths.max(initial=1))
    return starts[:, None] + np.minimum(columns, lengths[:, None] - 1), columns < lengths[:, None]


class _Gathering:
    """Gathers rows of several arrays together."""

    def __init__(self, memory: ReusedMemory) -> None:
        self._memory = memory
        self._tasks: list[_Task] = []

    def add(
        self,
        name: str,
        source: np.ndarray,
        index: Int[np.ndarray, "*rows"],
        valid: Bool[np.ndarray, "*rows"] | None = None,
    ) -> np.ndarray:
        """Array that holds rows of `source` after `run`; zeros where they are not valid."""
        shape = (*index.shape, *source.shape[1:])
        rows: np.ndarray = self._memory.array(name, shape, source.dtype.type)
        self._tasks.append(_Task(source, index, valid, rows))
        return rows

    def copy(self, name: str, values: np.ndarray) -> np.ndarray:
        """A copy of values in the memory."""
        copied: np.ndarray = self._memory.array(name, values.shape, values.dtype.type)
        copied[...] = values
        return copied

    def run(self, threads: int) -> None:
        """Take all rows; each thread takes a part of every array."""

        def take(part: slice) -> None:
            for task in self._tasks:
                task.take(part.start, threads)

        in_parts(threads, threads, take)


@dataclass(frozen=True)
class _Task:
    source: np.ndarray
    index: np.ndarray
    valid: np.ndarray | None
    rows: np.ndarray

    def take(self, part: int, parts: int) -> None:
        """Take rows of part number `part` of `parts` equal parts."""
        total = len(self.index)
        here = slice(total * part // parts, total * (part + 1) // parts)
        rows = self.rows[here]
        # With mode "raise" numpy would fill a copy first.
        np.take(self.source, self.index[here], axis=0, out=rows, mode="clip")
        if self.valid is not None:
            rows[~self.valid[here]] = 0


def blocks_of(rows: slice, block: int) -> Iterator[slice]:
    """Consecutive rows, `block` at a time."""
    starts = range(rows.start, rows.stop, block)
    return (slice(start, min(start + block, rows.stop)) for start in starts)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    # A slice of a mapped array is read-only and torch wants memory that it may write.
    writable = np.require(array, requirements=["C", "W"])
    return torch.from_numpy(writable).to(device)
