"""A seeded generator of a small data set in the shape of the real ones.

A video belongs to a show and is a row of segments: events, each with captions, between segments
that no caption describes. An event is an instance of a prototype from a pool that all videos
share, so similar events occur in different videos and unlike events in one, as in semantic
collapse. Text and frames see the same events through two different spaces.

What it can show: that storing, training, losses, retrieval, pruning and registering work, that
learning beats chance by far and stays below perfection, and how settings compare on this data.
What it cannot show: anything about pixels, language or the size of the method's gain on real
data; its events are Gaussian, its captions have no grammar, its teacher is good by construction.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field, model_validator

from prvr_model.settings import Section
from prvr_model.store.format import SPLIT_NAMES, Manifest
from prvr_model.store.writer import StoreWriter

# Raised when the same settings give other numbers: a store is kept under the hash of its settings,
# and an old one must not be mistaken for a new one.
GENERATOR_VERSION = 1

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

# Mean of |x| of a standard normal x: without it the bent events would share one direction.
_MEAN_ABSOLUTE = np.sqrt(2 / np.pi)

# Streams of random numbers: first one for what all splits share, then one per split.
_SHARED_STREAM = 0


class SyntheticSettings(Section):
    """Sizes and difficulty of a synthetic data set.

    The defaults suit a trial of 9 epochs of 5 batches (hidden size 64, learning rate 0.001): SumR
    on validation then rises from about 91 (chance) to some 210 of 400.
    """

    seed: int = Field(default=1, ge=0, lt=2**31)
    train_videos: int = Field(default=160, ge=1)
    val_videos: int = Field(default=128, ge=1)
    test_videos: int = Field(default=128, ge=1)
    video_dim: int = Field(default=64, ge=2)
    text_dim: int = Field(default=48, ge=2)
    # Dimension of the space of events that both modalities see.
    event_dim: int = Field(default=32, ge=2)
    # Fewer prototypes: the same event in more videos.
    event_pool: int = Field(default=160, ge=1)
    num_shows: int = Field(default=8, ge=1)
    min_events: int = Field(default=3, ge=1)
    max_events: int = Field(default=4, ge=1)
    captions_per_event: int = Field(default=1, ge=1)
    min_frames: int = Field(default=20, ge=1)
    max_frames: int = Field(default=120, ge=1)
    min_tokens: int = Field(default=6, ge=2)
    max_tokens: int = Field(default=14, ge=2)
    # Share of an event's direction that is not its prototype's.
    detail: float = Field(default=0.6, ge=0, le=1)
    # Noise of a sentence vector and of each token, relative to their length.
    paraphrase_noise: float = Field(default=0.3, ge=0)
    token_noise: float = Field(default=0.5, ge=0)
    # Noise of each frame, strength of the show's background, of unrelated segments and of the
    # gap between the modalities, all relative to the length of an event in a frame.
    frame_noise: float = Field(default=1.0, ge=0)
    background: float = Field(default=0.3, ge=0)
    unrelated: float = Field(default=0.5, ge=0)
    gap: float = Field(default=0.25, ge=0)

    @model_validator(mode="after")
    def _ranges_fit(self) -> "SyntheticSettings":
        for what in ("events", "frames", "tokens"):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if low > high:
                raise ValueError(f"min_{what} {low} exceeds max_{what} {high}")
        if self.min_frames < 2 * self.max_events + 1:
            raise ValueError(
                f"min_frames {self.min_frames} is too few for max_events {self.max_events}: "
                f"events and what lies between them need {2 * self.max_events + 1}"
            )
        return self

    @property
    def digest(self) -> str:
        """Hash of these settings and of the generator; names a store that can be reused."""
        content = {"generator": GENERATOR_VERSION, **self.model_dump()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def write_synthetic(
    path: Path, settings: SyntheticSettings, overwrite: bool = False, name: str = "synthetic"
) -> Manifest:
    """Write a store with the splits train, val and test.

    The same settings give the same store bit for bit: numbers are drawn and combined in float64 and
    stored in float16, so that the last bits of a processor's sums do not reach the store. A split's
    content does not depend on the sizes of the others.

    Args:
        path: Folder of the store.
        settings: Sizes, difficulty and seed.
        overwrite: Replace an existing store.
        name: Name of the data set.

    Raises:
        StoreError: The target exists or cannot be written.
    """
    world = _World.draw(settings)
    source = {
        "kind": "synthetic",
        "generator_version": GENERATOR_VERSION,
        "settings": settings.model_dump(),
    }
    with StoreWriter(
        path,
        name=name,
        video_dim=settings.video_dim,
        text_dim=settings.text_dim,
        source=source,
        overwrite=overwrite,
    ) as writer:
        for number, split in enumerate(SPLIT_NAMES):
            rng = _stream(settings, 1 + number)
            for video in range(getattr(settings, f"{split}_videos")):
                _write_video(writer, split, f"{split}_{video:05d}", world, rng)
    return writer.manifest


@dataclass(frozen=True)
class _World:
    """What all videos share: events, shows and the two views of the event space."""

    settings: SyntheticSettings
    prototypes: Floats  # (event_pool, event_dim), unit rows
    to_text: Floats  # (event_dim, text_dim)
    to_video: Floats  # (event_dim, video_dim)
    bend: Floats  # (event_dim, event_dim), directions before the gap's nonlinearity
    offset: Floats  # (video_dim,), unit: a modality's constant shift
    backgrounds: Floats  # (num_shows, video_dim), unit rows
    words: Floats  # (event_pool, text_dim), unit rows; words that any caption may contain

    @classmethod
    def draw(cls, settings: SyntheticSettings) -> "_World":
        rng = _stream(settings, _SHARED_STREAM)
        event, text, video = settings.event_dim, settings.text_dim, settings.video_dim
        return cls(
            settings=settings,
            prototypes=_unit_rows(rng, settings.event_pool, event),
            to_text=rng.standard_normal((event, text)) / np.sqrt(text),
            to_video=rng.standard_normal((event, video)) / np.sqrt(video),
            bend=rng.standard_normal((event, event)),
            offset=_unit_rows(rng, 1, video)[0],
            backgrounds=_unit_rows(rng, settings.num_shows, video),
            words=_unit_rows(rng, settings.event_pool, text),
        )

    def events(self, rng: Generator, count: int) -> tuple[Integers, Floats]:
        """Prototype numbers and unit vectors of `count` new events."""
        kinds = rng.integers(self.settings.event_pool, size=count)
        own = _unit_rows(rng, count, self.settings.event_dim)
        share = self.settings.detail
        mixed = np.sqrt(1 - share**2) * self.prototypes[kinds] + share * own
        return kinds, _unit(mixed)

    def seen(self, events: Floats) -> Floats:
        """Unit events as a video shows them, (count, video_dim).

        The gap adds what no linear map of the text gives, an even function of the event, and a
        constant shift.
        """
        bent = _unit(np.abs(events @ self.bend) - _MEAN_ABSOLUTE)
        return (events + self.settings.gap * bent) @ self.to_video + (
            self.settings.gap * self.offset
        )


def _write_video(
    writer: StoreWriter, split: str, video_id: str, world: _World, rng: Generator
) -> None:
    settings = world.settings
    show = int(rng.integers(settings.num_shows))
    count = int(rng.integers(settings.min_events, settings.max_events + 1))
    kinds, events = world.events(rng, count)
    writer.add_video(split, video_id, _frames(world, events, show, rng))
    for number in range(count * settings.captions_per_event):
        event = number % count
        text = f"event {kinds[event]} of {video_id}, seen as its number {event}, told {number}"
        tokens = _tokens(world, events[event], rng)
        writer.add_caption(split, f"{video_id}#enc#{number}", video_id, text, tokens)


def _frames(world: _World, events: Floats, show: int, rng: Generator) -> Floats:
    settings = world.settings
    num_frames = int(rng.integers(settings.min_frames, settings.max_frames + 1))
    content = np.empty((2 * len(events) + 1, settings.video_dim))
    content[1::2] = world.seen(events)
    content[::2] = settings.unrelated * world.seen(world.events(rng, len(events) + 1)[1])
    frames = np.repeat(content, _segment_lengths(rng, num_frames, len(content)), axis=0)
    frames += settings.background * world.backgrounds[show]
    noise = rng.standard_normal(frames.shape) / np.sqrt(settings.video_dim)
    frames += settings.frame_noise * noise
    return frames


def _segment_lengths(rng: Generator, num_frames: int, num_segments: int) -> Integers:
    """Lengths of at least one frame that sum to `num_frames`; every division equally likely."""
    cuts = np.sort(rng.choice(num_frames - 1, size=num_segments - 1, replace=False)) + 1
    return np.diff(cuts, prepend=0, append=num_frames)


def _tokens(world: _World, event: Floats, rng: Generator) -> Floats:
    """Token features (L, text_dim), unit rows; the last one is the sentence vector."""
    settings = world.settings
    length = int(rng.integers(settings.min_tokens, settings.max_tokens + 1))
    meaning = event @ world.to_text
    own = rng.standard_normal((length, settings.text_dim)) / np.sqrt(settings.text_dim)
    words = world.words[rng.integers(len(world.words), size=length)]
    # Each token carries some of the meaning, as a contextual encoder's do, and its own word.
    tokens = meaning + words + settings.token_noise * own
    tokens[-1] = meaning + settings.paraphrase_noise * own[-1]
    return _unit(tokens)


def _stream(settings: SyntheticSettings, number: int) -> Generator:
    return np.random.default_rng([settings.seed, number])


def _unit_rows(rng: Generator, count: int, dim: int) -> Floats:
    return _unit(rng.standard_normal((count, dim)))


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
