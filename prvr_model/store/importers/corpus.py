"""A corpus of captions and features of any layout: its parts, and what a user chooses."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.format import Manifest
from prvr_model.store.importers.annotating import NO_FILES, AnnotationFiles
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.features import FeatureSource
from prvr_model.store.importers.problems import Problems


@dataclass(frozen=True)
class Reading:
    """How far an import is; bytes are those that features take in the store."""

    items: int
    all_items: int
    num_bytes: int
    all_bytes: int


Progress = Callable[[Reading], None]
"""Called for each item that has been read."""


@dataclass(frozen=True)
class ImportChoices:
    """What a user chooses about an import.

    Args:
        overwrite: Replace a store that is there.
        val_from_train: Share of train's videos that become the val split.
        skip_uncaptioned: Leave videos without captions out in any case.
        video_features: File or folder of videos' features, by name where the layout has them, or
            by path; None: the one that the layout names, or the only one there.
        text_features: The same for captions.
        captions: The same for the captions themselves, in layouts that leave them a name.
        join_pieces: Join the pieces of a YouTube video.
        trim_padding: Cut rows of zeros off the end of each item.
        allow: Names of findings that are no problem, see `sanity.ALLOWABLE`.
        annotations: Files of moments, lengths and verified labels.
    """

    overwrite: bool = False
    val_from_train: float | None = None
    skip_uncaptioned: bool = False
    video_features: str | None = None
    text_features: str | None = None
    captions: str | None = None
    join_pieces: bool = False
    trim_padding: bool = False
    allow: frozenset[str] = frozenset()
    annotations: AnnotationFiles = NO_FILES


@dataclass(frozen=True)
class ImportReport:
    """What an import made, and what the user should know about it.

    `notes` are what was decided; `warnings` are what training will suffer from.
    """

    store: Path
    manifest: Manifest
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One video or caption and the key of its features; `line` is its (first) caption."""

    split: str
    key: str
    line: CaptionLine


@dataclass(frozen=True)
class Corpus:
    """A corpus with its features found.

    Args:
        name: Name of the data set.
        source: Where it came from, for the manifest.
        videos: Features of videos; None if they could not be opened.
        texts: Features of captions; None if they could not be opened.
        video_items: Videos in the order of each split's captions.
        caption_items: Captions in their files' order.
        durations: Seconds of the videos whose duration is known, by id.
        annotations: What else is known of captions, by split and id.
        seconds_per_row: Time between two rows of a video; None if that is not known.
        problems: What is wrong; checks add to it.
        notes: What a user should know; checks add to it.
    """

    name: str
    source: Mapping[str, Any]
    videos: FeatureSource | None
    texts: FeatureSource | None
    video_items: list[Item] = field(default_factory=list)
    caption_items: list[Item] = field(default_factory=list)
    durations: Mapping[str, float] = field(default_factory=dict)
    annotations: Mapping[tuple[str, str], CaptionAnnotation] = field(default_factory=dict)
    seconds_per_row: float | None = None
    problems: Problems = field(default_factory=Problems)
    notes: list[str] = field(default_factory=list)


def find_features(
    source: FeatureSource,
    split: str,
    lines: Iterable[CaptionLine],
    candidates: Callable[[CaptionLine], Iterable[str]],
    missing: tuple[str, str],
    problems: Problems,
) -> Iterator[Item]:
    """Items of the lines whose features exist; the others become problems.

    Args:
        source: Features.
        split: Split of the lines.
        lines: Captions, or the first caption of each video.
        candidates: Keys to try for a line, best first.
        missing: Kind of problem, and the message with `{line}` and `{file}`.
        problems: Takes missing keys and keys that two lines lead to.
    """
    owners: dict[str, CaptionLine] = {}
    for line in lines:
        tried = list(dict.fromkeys(candidates(line)))
        key = source.find(tried)
        if key is None:
            detail = missing[1].format(line=line, file=source.label)
            problems.add(missing[0], f"{detail} (tried {', '.join(tried)})")
        elif (owner := owners.setdefault(key, line)) is not line:
            problems.add(
                "duplicate id", f"{owner.place} and {line.place} both lead to features {key!r}"
            )
        else:
            yield Item(split, key, line)
