"""What the layouts with FeatureData, TextData and caption files share.

Feature files have other names in other releases: the one that the layout names is taken, else the
only one there, else the user chooses.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from prvr_model.store.importers.collection import Collection, find_collection, known_collection
from prvr_model.store.importers.features import FeatureSource
from prvr_model.store.importers.found_files import Wanted, is_hdf5_name, the_one
from prvr_model.store.importers.hdf5_features import open_hdf5
from prvr_model.store.importers.layout import RELEASED_KEYS, Content, Layout, Request
from prvr_model.store.importers.problems import ProblemError, Problems

_Open = Callable[[Path, Problems], AbstractContextManager[FeatureSource | None]]


@dataclass(frozen=True)
class Release:
    """How a release keeps its features.

    Args:
        kind: Name of the layout.
        videos: What its video features are called.
        texts: What its text features are called.
        evidence: What shows that a collection is of this release; None if nothing does.
        open_videos: Opens the video features; None, with a problem, where that fails.
        seconds_per_row: Time between two rows of a video, if it is the same in all of them.
    """

    kind: str
    videos: Callable[[Collection], Wanted]
    texts: Callable[[Collection], Wanted]
    evidence: Callable[[Collection], str | None]
    open_videos: _Open = open_hdf5
    seconds_per_row: float | None = None

    @property
    def layout(self) -> Layout:
        """The layout of such releases."""
        return Layout(self._evidence_at, self._read)

    def _evidence_at(self, root: Path, name: str | None) -> str | None:
        collection = known_collection(root, name)
        return self.evidence(collection) if collection else None

    def _read(self, request: Request, stack: ExitStack) -> Content:
        problems, choices = request.problems, request.choices
        found = find_collection(request.root, request.collection, request.notes)
        videos = _path(found.features, self.videos(found), choices.video_features, request)
        texts = _path(found.texts, self.texts(found), choices.text_features, request)
        return Content(
            found.name,
            {
                "kind": self.kind,
                "folder": str(found.folder.resolve()),
                "collection": found.name,
                "video_features": videos.name if videos else None,
                "text_features": texts.name if texts else None,
            },
            stack.enter_context(self.open_videos(videos, problems)) if videos else None,
            # Pooled features of a caption are one row.
            stack.enter_context(open_hdf5(texts, problems, takes_vectors=True)) if texts else None,
            found.splits(problems),
            found.missing_split,
            RELEASED_KEYS,
            seconds_per_row=self.seconds_per_row,
        )


def _path(folder: Path, wanted: Wanted, chosen: str | None, request: Request) -> Path | None:
    try:
        return the_one(folder, wanted, chosen, request.notes)
    except ProblemError as error:
        request.problems.add(error.kind, str(error))
        return None


def video_file(expected: str) -> Wanted:
    """An HDF5 file in FeatureData."""
    return Wanted("HDF5 file", "--video-features", is_hdf5_name, expected)


def text_file(expected: str) -> Wanted:
    """An HDF5 file in TextData."""
    return Wanted("HDF5 file", "--text-features", is_hdf5_name, expected)


def roberta_file(collection: Collection) -> Wanted:
    """The captions' RoBERTa features of MS-SL and those after it."""
    return text_file(f"roberta_{collection.name}_query_feat.hdf5")


def first_match(folder: Path, pattern: str) -> Path | None:
    """The first path in a folder that a pattern matches, by name."""
    return min(folder.glob(pattern), default=None)
