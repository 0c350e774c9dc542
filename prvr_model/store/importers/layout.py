"""The common interface of all layouts: each is a small module that offers one `Layout`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.corpus import ImportChoices
from prvr_model.store.importers.features import FeatureSource
from prvr_model.store.importers.problems import Problems

_ACTIVITYNET_PREFIX = "v_"


@dataclass(frozen=True)
class Request:
    """What is to be imported, and where problems and notes go.

    Args:
        root: Folder that the user names.
        collection: Name of the data set; None: the only one there, or the folder's name.
        choices: What the user chooses.
        problems: Takes what is wrong.
        notes: Takes what was decided.
    """

    root: Path
    collection: str | None
    choices: ImportChoices
    problems: Problems
    notes: list[str]


@dataclass(frozen=True)
class Keys:
    """Keys of features to try for a caption, best first."""

    of_video: Callable[[CaptionLine], Iterable[str]]
    of_caption: Callable[[CaptionLine], Iterable[str]]


@dataclass(frozen=True)
class Content:
    """What a layout finds: captions, and open features.

    Args:
        name: Name of the data set.
        source: Files and choices, for the manifest.
        videos: Features of videos; None, with a problem, if they could not be opened.
        texts: The same for captions.
        splits: Captions by split, as the files have them.
        missing_split: Says where the captions of a split should be, and what is there.
        keys: How features are named.
        durations: See `Corpus`.
        annotations: What else is known of captions, by id.
        seconds_per_row: See `Corpus`.
    """

    name: str
    source: Mapping[str, Any]
    videos: FeatureSource | None
    texts: FeatureSource | None
    splits: Mapping[str, list[CaptionLine]]
    missing_split: Callable[[str], str]
    keys: Keys
    durations: Mapping[str, float] = field(default_factory=dict)
    annotations: Mapping[str, CaptionAnnotation] = field(default_factory=dict)
    seconds_per_row: float | None = None


@dataclass(frozen=True)
class Layout:
    """One layout of files.

    Args:
        evidence: Why a root, with the collection if the user names one, has this layout; None
            where it has not. Raises OSError.
        read: Captions of a request, and its features, opened until the stack ends. Raises
            CorpusError where nothing can be read, and OSError.
        options: Names of the choices that only some layouts have and this one has.
    """

    evidence: Callable[[Path, str | None], str | None]
    read: Callable[[Request, ExitStack], Content]
    options: frozenset[str] = frozenset()


def video_keys(line: CaptionLine) -> Iterator[str]:
    """Names of a caption's video, with and without the prefix that ActivityNet has in places."""
    yield from _with_and_without_prefix(line.video_id)


def caption_keys(line: CaptionLine) -> Iterator[str]:
    """Names of a caption: both forms of its id, with and without ActivityNet's prefix."""
    yield line.caption_id
    number = line.caption_id.partition("#")[2].removeprefix("enc#")
    for video_id in _with_and_without_prefix(line.video_id):
        yield f"{video_id}#enc#{number}"
        yield f"{video_id}#{number}"


def _with_and_without_prefix(video_id: str) -> Iterator[str]:
    yield video_id
    if video_id.startswith(_ACTIVITYNET_PREFIX):
        yield video_id.removeprefix(_ACTIVITYNET_PREFIX)
    else:
        yield _ACTIVITYNET_PREFIX + video_id


RELEASED_KEYS = Keys(video_keys, caption_keys)
"""Keys in files as their authors released them."""

EXACT_KEYS = Keys(lambda line: [line.video_id], lambda line: [line.caption_id])
"""Keys in files that use the ids themselves."""
