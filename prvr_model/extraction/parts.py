"""Finished videos of an extraction that goes on: a small file each, so that none is done twice."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from prvr_model.errors import DataError
from prvr_model.extraction.decoding import Sampling
from prvr_model.extraction.pipeline import EncodedVideo, VideoJob
from prvr_model.files.folder import Folder
from prvr_model.files.location import local_path, uri_below
from prvr_model.store.recipe import FeatureRecipe

_SETTINGS = "settings.json"


def parts_folder(target: Path) -> Path:
    """The hidden folder beside a store in which its parts are made."""
    return target.with_name(f".{target.name}.parts")


def shared_parts(
    storage: str, target: Path, recipe: FeatureRecipe, sampling: Sampling, precision: str
) -> str:
    """The folder of a store's parts on a storage that several machines, and users, share.

    Its name is bound to the store's path and the settings: the same command finds its parts again,
    and another store of this name, or other settings, disturb nothing.

    Args:
        storage: Absolute path or URI.
        target: The store.
        recipe: How features are made.
        sampling: Which frames become rows.
        precision: Number type of the encoder.
    """
    bound_to = f"{target.absolute()}\0".encode(errors="surrogateescape")
    digest = hashlib.sha256(bound_to + _settings(recipe, sampling, precision)).hexdigest()[:12]
    return uri_below(storage, f"{target.name}-{digest}.parts")


def _settings(recipe: FeatureRecipe, sampling: Sampling, precision: str) -> bytes:
    more = {"max_seconds": sampling.max_seconds, "precision": precision}
    return json.dumps(recipe.model_dump() | more, sort_keys=True).encode()


class Parts:
    """The parts of one extraction.

    Args:
        folder: Where they are; any storage.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._names = set(folder.names())

    def begin(self, recipe: FeatureRecipe, sampling: Sampling, precision: str) -> bool:
        """Keep parts that were made with these settings; remove others.

        Returns:
            Whether others were there.
        """
        content = _settings(recipe, sampling, precision)
        if _SETTINGS in self._names and self._folder.read_bytes(_SETTINGS) == content:
            return False
        had_others = bool(self._names)
        self.remove()
        self._folder.write_bytes(_SETTINGS, content)
        return had_others

    def has(self, job: VideoJob) -> bool:
        """Whether a video's part is there, of the file as it is now."""
        return _name(job) in self._names

    def write(self, video: EncodedVideo) -> None:
        """Write a video's part; the rows are kept as a store keeps them.

        Raises:
            StorageError: It cannot be written.
        """
        content = save(
            {
                "rows": video.rows.astype("<f2"),
                "duration_s": np.array([video.duration_s], "<f8"),
            }
        )
        self._folder.write_bytes(_name(video.job), content)
        self._names.add(_name(video.job))

    def read(self, job: VideoJob) -> tuple[np.ndarray, float]:
        """A video's rows (T, D) float16 and the seconds that they cover.

        Raises:
            DataError: The part is damaged.
            StorageError: It cannot be read.
        """
        try:
            part = load(self._folder.read_bytes(_name(job)))
            return part["rows"], float(part["duration_s"][0])
        except (SafetensorError, KeyError) as error:
            place = self._folder.locate(_name(job))
            raise DataError(f"{place} is damaged ({error}); remove it and extract again") from error

    def remove(self) -> None:
        """Remove all parts."""
        for name in self._folder.names():
            self._folder.delete(name)
        self._names.clear()
        local = local_path(self._folder.uri)
        if local is not None and local.is_dir():
            with suppress(OSError):  # it holds something of somebody else
                local.rmdir()


def _name(job: VideoJob) -> str:
    return f"{job.key}.safetensors"
