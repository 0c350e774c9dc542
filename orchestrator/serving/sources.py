"""Where a gallery's videos come from: a feature store, or a folder of videos."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from prvr_model.errors import DataError, GalleryError
from prvr_model.retrieval.gallery_encoding import SourceVideo
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.reader import FeatureStore
from prvr_model.store.recipe import FeatureRecipe

# torch and transformers are imported where they are used.
if TYPE_CHECKING:
    from prvr_model.extraction.encoder import FeatureEncoder
    from prvr_model.extraction.pipeline import BrokenVideo, EncodedVideo

ALL_SPLITS = "all"


class VideoSource(Protocol):
    """Videos with their features, and how these were made."""

    @property
    def place(self) -> str:
        """Its name in messages."""

    @property
    def recipe(self) -> FeatureRecipe | None:
        """How its features were made; None: nobody said."""

    @property
    def dims(self) -> tuple[int, int]:
        """Dimensions of rows of videos and of tokens."""

    @property
    def num_videos(self) -> int:
        """Number of videos."""

    def videos(self) -> Iterator[SourceVideo]:
        """The videos, in order.

        Raises:
            DataError: One cannot be read.
        """

    def captions(self) -> Sequence[np.ndarray]:
        """Token features of its captions; none where it has no captions."""


@dataclass(frozen=True)
class StoreSource:
    """Videos of some splits of a feature store."""

    store: FeatureStore
    splits: Sequence[str]

    @classmethod
    def open(cls, path: Path, split: str) -> "StoreSource":
        """One split of a store, or `all`.

        Raises:
            StoreError: There is no store, or no such split.
        """
        store = FeatureStore.open(path)
        names = [name for name in SPLIT_NAMES if store.has_split(name)]
        if split != ALL_SPLITS:
            names = [store.split(split).name]
        return cls(store, names)

    @property
    def place(self) -> str:
        """See `VideoSource`."""
        return str(self.store.path)

    @property
    def recipe(self) -> FeatureRecipe | None:
        """See `VideoSource`."""
        return self.store.manifest.recipe

    @property
    def dims(self) -> tuple[int, int]:
        """See `VideoSource`."""
        return self.store.manifest.video_dim, self.store.manifest.text_dim

    @property
    def num_videos(self) -> int:
        """See `VideoSource`."""
        return sum(self.store.manifest.splits[name].videos for name in self.splits)

    def videos(self) -> Iterator[SourceVideo]:
        """See `VideoSource`."""
        seconds_per_row = self.store.manifest.seconds_per_row
        for name in self.splits:
            split = self.store.split(name)
            durations = np.array(split.durations_s)
            if seconds_per_row is not None:
                told = split.num_frames * seconds_per_row
                durations = np.where(np.isnan(durations), told, durations)
            for row, video_id in enumerate(split.video_ids):
                yield SourceVideo(video_id, split.frames(row), float(durations[row]))

    def captions(self) -> Sequence[np.ndarray]:
        """See `VideoSource`; views of the store's files."""
        splits = [self.store.split(name) for name in self.splits]
        return [split.tokens(row) for split in splits for row in range(len(split.caption_ids))]


@dataclass(frozen=True)
class FolderSource:
    """Videos below a folder, encoded as `data extract` does; their names are their paths there.

    Args:
        folder: The folder.
        encoder: What encodes their frames.
        frames_per_second: Rows a second.
        names: The videos.
        skip_broken: Leave out videos that cannot be used, instead of ending.
        warn: Takes a line about each video that is left out.
        workers: Threads that decode.
    """

    folder: Path
    encoder: "FeatureEncoder"
    frames_per_second: float
    names: Sequence[str]
    skip_broken: bool = False
    warn: Callable[[str], None] = lambda line: None
    workers: int = 2

    @property
    def place(self) -> str:
        """See `VideoSource`."""
        return str(self.folder)

    @property
    def recipe(self) -> FeatureRecipe:
        """See `VideoSource`."""
        return self.encoder.recipe(self.frames_per_second)

    @property
    def dims(self) -> tuple[int, int]:
        """See `VideoSource`."""
        return self.encoder.dim, self.encoder.dim

    @property
    def num_videos(self) -> int:
        """See `VideoSource`."""
        return len(self.names)

    def videos(self) -> Iterator[SourceVideo]:
        """See `VideoSource`."""
        from prvr_model.extraction.decoding import Sampling
        from prvr_model.extraction.pipeline import BrokenVideo, encode_videos
        from prvr_model.extraction.thumbnails import thumbnail
        from prvr_model.extraction.videos import find_videos

        jobs, missing = find_videos(self.folder, self.names)
        for broken in missing:
            self._left_out(broken)
        sampling = Sampling(self.frames_per_second)
        encoded = encode_videos(self.encoder, jobs, sampling, self.workers)
        for video in _in_order([job.video for job in jobs], encoded):
            if isinstance(video, BrokenVideo):
                self._left_out(video)
            else:
                picture = thumbnail(video.job.path)
                yield SourceVideo(video.video, video.rows, video.duration_s, picture)

    def _left_out(self, video: "BrokenVideo") -> None:
        line = f"video {video.video!r} cannot be used: {video.cause}"
        if not self.skip_broken:
            raise DataError(f"{line}; repair it, or leave such videos out with --skip-broken")
        self.warn(line)

    def captions(self) -> Sequence[np.ndarray]:
        """See `VideoSource`."""
        return ()


def _in_order(
    names: Sequence[str], videos: "Iterable[EncodedVideo | BrokenVideo]"
) -> "Iterator[EncodedVideo | BrokenVideo]":
    """The videos in the order of `names`, whichever is finished first."""
    waiting: dict[str, EncodedVideo | BrokenVideo] = {}
    following = 0
    for video in videos:
        waiting[video.video] = video
        while following < len(names) and names[following] in waiting:
            yield waiting.pop(names[following])
            following += 1


def refuse_unfit(source: VideoSource, model_dims: tuple[int, int], model: str) -> None:
    """Refuse a source whose features are of other dimensions than a model's.

    Raises:
        GalleryError: Names both dimensions.
    """
    pairs = zip(("rows of videos", "tokens"), source.dims, model_dims, strict=True)
    for what, found, wanted in pairs:
        if found != wanted:
            raise GalleryError(
                f"{source.place}: its {what} have {found} values, {model} takes {wanted}; name the "
                "store that the model was trained on, or one made by the same recipe"
            )
