"""A split prepared for the model: resampled frames, clips, segments and caption tokens.

All large arrays are mapped from `prepared_cache`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from prvr_model.inputs.preparation import Preparation
from prvr_model.inputs.prepared_cache import Arrays, FrozenCache
from prvr_model.inputs.token_merging import choose_levels
from prvr_model.settings import Settings
from prvr_model.store.reader import FeatureStore, StoreSplit


@dataclass(frozen=True)
class RelevantVideos:
    """Videos that each caption is verified to be right for, as ragged rows.

    Args:
        offsets: First video of each caption in `videos`, and the end.
        videos: Rows of videos in the split.
    """

    offsets: Int[np.ndarray, "captions_plus_one"]
    videos: Int[np.ndarray, "pairs"]

    @classmethod
    def of(cls, split: StoreSplit) -> "RelevantVideos":
        """The verified labels of a split."""
        counts = [len(videos) for videos in split.relevant]
        pairs = [video for videos in split.relevant for video in videos]
        return cls(np.concatenate([[0], np.cumsum(counts)]), np.array(pairs, np.int64))

    def others(
        self,
        captions: Int[np.ndarray, "captions"],
        videos: Int[np.ndarray, "batch"],
        owners: Int[np.ndarray, "captions"],
    ) -> Bool[np.ndarray, "captions batch"]:
        """Whether each caption is right for each video that is not its own.

        Args:
            captions: Rows of captions in the split.
            videos: Rows of videos in the split, each once.
            owners: Place of each caption's own video in `videos`.
        """
        found = np.zeros((len(captions), len(videos)), np.bool_)
        starts, counts = self.offsets[captions], np.diff(self.offsets)[captions]
        rows = np.repeat(np.arange(len(captions)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        named = self.videos[np.repeat(starts, counts) + within]
        order = np.argsort(videos)
        places = order[np.searchsorted(videos, named, sorter=order).clip(max=len(videos) - 1)]
        is_here = videos[places] == named
        found[rows[is_here], places[is_here]] = True
        found[np.arange(len(captions)), owners] = False
        return found


@dataclass(frozen=True)
class PreparedSplit:
    """Arrays of a split; rows of `frames`, `clips` and `tokens` have norm 1.

    Args:
        frames: Resampled frames.
        clips: Merged clips.
        clip_sizes: Frames in each clip.
        frame_to_clip: Clip of each frame.
        segment_of_clip: CBVA segment of each clip at the video's level; each clip is its own
            segment if the term is off or the split is not trained on.
        tokens: Token features of all captions, one after the other.
        token_offsets: First token of each caption, and the end.
        caption_video: Video of each caption.
        caption_order: Captions sorted by video.
        caption_starts: First caption of each video in `caption_order`, and the end.
        relevant: Videos that are no negatives of a caption; None: all but its own are.
    """

    frames: Float[np.ndarray, "videos frames dim"]
    clips: Float[np.ndarray, "videos clips dim"]
    clip_sizes: Float[np.ndarray, "videos clips"]
    frame_to_clip: Int[np.ndarray, "videos frames"]
    segment_of_clip: Int[np.ndarray, "videos clips"]
    tokens: Float[np.ndarray, "tokens text_dim"]
    token_offsets: Int[np.ndarray, "captions_plus_one"]
    caption_video: Int[np.ndarray, "captions"]
    caption_order: Int[np.ndarray, "captions"]
    caption_starts: Int[np.ndarray, "videos_plus_one"]
    relevant: RelevantVideos | None = None

    @property
    def num_videos(self) -> int:
        """Number of videos."""
        return len(self.frames)

    @property
    def num_captions(self) -> int:
        """Number of captions."""
        return len(self.caption_video)

    def captions_of(self, videos: Int[np.ndarray, "batch"]) -> Int[np.ndarray, "captions"]:
        """Captions of some videos, each video's one after the other, in the videos' order."""
        starts, ends = self.caption_starts[videos], self.caption_starts[videos + 1]
        counts = ends - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        captions: np.ndarray = self.caption_order[np.repeat(starts, counts) + within]
        return captions


def prepare_split(
    store: FeatureStore, name: str, settings: Settings, scratch: Path | None = None
) -> PreparedSplit:
    """Prepare a split, or map what was prepared before.

    Args:
        store: The store.
        name: The split.
        settings: Sizes, merging and levels.
        scratch: Folder for what the store lacks; None: it is kept beside the store.

    Raises:
        StoreError: The store has no such split, or what is prepared cannot be written.
    """
    split = store.split(name)
    preparation = Preparation(split, store.manifest, settings)
    cache = FrozenCache(store.path, store.manifest.fingerprint, scratch)
    made = cache.groups(preparation.keys(), preparation.build)
    order = np.argsort(split.caption_video, kind="stable")
    counts = np.bincount(split.caption_video, minlength=len(split.video_ids))
    return PreparedSplit(
        frames=made["frames"]["frames"],
        clips=made["clips"]["clips"],
        clip_sizes=made["clips"]["sizes"],
        frame_to_clip=made["clips"]["frame_to_clip"],
        segment_of_clip=_segments(made, settings.losses.tau),
        tokens=made["tokens"]["tokens"],
        token_offsets=made["tokens"]["offsets"],
        caption_video=np.asarray(split.caption_video),
        caption_order=order,
        caption_starts=np.concatenate([[0], np.cumsum(counts)]),
    )


def _segments(made: Mapping[str, Arrays], tau: float) -> Int[np.ndarray, "videos clips"]:
    """Segment of each clip at the level that the video's connectivity chooses."""
    num_videos, num_clips = made["clips"]["sizes"].shape
    if "segments" not in made:
        return np.tile(np.arange(num_clips), (num_videos, 1))
    tree, plans = made["segments"]["tree"], made["segments"]["plans"]
    chosen = choose_levels(tree, tau, plans.shape[1])
    return np.asarray(plans[np.arange(num_videos), chosen])
