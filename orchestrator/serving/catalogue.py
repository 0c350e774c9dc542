"""What the service knows of its gallery besides scores; follows the gallery when it changes."""

import hashlib
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from orchestrator.serving.gallery import Gallery
from prvr_model.errors import GalleryError
from prvr_model.retrieval.gallery import WHOLE, GalleryReader, Shard
from prvr_model.retrieval.gallery_format import GALLERY_MANIFEST, GalleryManifest

# A question that is under way is answered from the version that it began with.
_KEPT_VERSIONS = 2


def version_of(manifest: GalleryManifest) -> str:
    """Names a state of a gallery: other videos, model or recipe give another name."""
    return hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()[:16]


class FollowedGallery:
    """A gallery, or a share of it, that is opened again when another version is asked for.

    Args:
        path: Folder of the gallery.
        encoder: Folder or name of the encoder of sentences; None: the one that the recipe names.
        shard: The share.
    """

    def __init__(self, path: Path, encoder: Path | None = None, shard: Shard = WHOLE) -> None:
        self._path, self._encoder, self._shard = path, encoder, shard
        self._known: OrderedDict[str, Gallery] = OrderedDict()

    def at(self, version: str | None) -> tuple[str, Gallery]:
        """The gallery in a version; as it is on disk now where that version is gone, or None.

        Raises:
            GalleryError: It cannot be opened.
        """
        if version is None or version not in self._known:
            opened = Gallery.open(self._path, encoder=self._encoder, shard=self._shard)
            version = version_of(opened.reader.manifest)
            self._known.setdefault(version, self._with_loaded_models(opened))
            while len(self._known) > _KEPT_VERSIONS:
                self._known.popitem(last=False)
        return version, self._known[version]

    def _with_loaded_models(self, opened: Gallery) -> Gallery:
        """Loading an encoder takes seconds; adding videos does not change it."""
        new = opened.reader.manifest
        for before in self._known.values():
            old = before.reader.manifest
            if (old.model, old.recipe) == (new.model, new.recipe):
                opened.take_models_of(before)
        return opened


class Catalogue:
    """Names, thumbnails and counts of the newest version of a gallery.

    Args:
        path: Folder of the gallery.
        reader: It, open.
    """

    def __init__(self, path: Path, reader: GalleryReader) -> None:
        self.path = path
        self._signature = _signature(path)
        self._set(reader)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the gallery in a folder.

        Raises:
            GalleryError: There is none, or it is damaged.
        """
        return cls(path, GalleryReader.open(path))

    def refresh(self) -> bool:
        """Open the gallery again if its manifest was replaced; returns whether it was.

        Raises:
            GalleryError: The new one cannot be opened; the old one stays.
        """
        if (signature := _signature(self.path)) == self._signature:
            return False
        reader = GalleryReader.open(self.path)
        self._signature = signature
        self._set(reader)
        return True

    def _set(self, reader: GalleryReader) -> None:
        self._contents = _Contents(reader)
        self.version = version_of(reader.manifest)

    @property
    def manifest(self) -> GalleryManifest:
        """Of the newest version."""
        return self._contents.reader.manifest

    def holds(self, video: str) -> bool:
        """Whether a video of this name is in the gallery."""
        return video in self._contents.names

    def thumbnail(self, video_id: int) -> bytes | None:
        """A video's thumbnail, a JPEG file; None: it has none, or there is no such video."""
        return self._contents.thumbnail(video_id)


class _Contents:
    def __init__(self, reader: GalleryReader) -> None:
        self.reader = reader

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.reader.names())

    def thumbnail(self, video_id: int) -> bytes | None:
        # Ids are ascending and never negative; JSON and addresses may hold any number.
        if not 0 <= video_id < self.reader.manifest.next_id:
            return None
        place = int(np.searchsorted(self.reader.ids, video_id))
        if place == len(self.reader.ids) or self.reader.ids[place] != video_id:
            return None
        return self.reader.thumbnail(int(self.reader.positions[place]))


def _signature(path: Path) -> tuple[int, int, int]:
    try:
        found = (path / GALLERY_MANIFEST).stat()
    except OSError as error:
        raise GalleryError(f"cannot read {path / GALLERY_MANIFEST}: {error.strerror}") from error
    return found.st_ino, found.st_size, found.st_mtime_ns
