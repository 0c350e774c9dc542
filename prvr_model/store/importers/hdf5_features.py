"""Reads features from an HDF5 file with one dataset per video or caption."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from prvr_model.errors import DataError
from prvr_model.store.importers.problems import Problems

# What h5py raises for damaged files, by the layer of HDF5 that notices.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError)

_CACHE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Header:
    """Shape and type of an item's features without reading them.

    `num_rows` and `dim` are None for arrays that are neither (L, D) nor (1, L, D) with D > 0.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_rows(self) -> int | None:
        """Frames or tokens."""
        return self.shape[-2] if self._is_matrix else None

    @property
    def dim(self) -> int | None:
        """Dimension of a row."""
        return self.shape[-1] if self._is_matrix else None

    @property
    def _is_matrix(self) -> bool:
        is_wrapped = len(self.shape) == 3 and self.shape[0] == 1
        return (len(self.shape) == 2 or is_wrapped) and self.shape[-1] > 0


class Hdf5Features:
    """Features by key; reads one item at a time."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        # The files of videos and captions often have the same name.
        self.label = f"{path.parent.name}/{path.name}"
        self._file = file

    def names(self) -> Iterator[str]:
        """Names at the top level, in the file's order."""
        with _readable(self.label, "the list of keys"):
            yield from list(self._file)

    def find(self, candidates: Iterable[str]) -> str | None:
        """The first of `candidates` that the file has."""
        with _readable(self.label, "the list of keys"):
            return next((key for key in candidates if key in self._file), None)

    def header(self, key: str) -> Header:
        """Shape and type of an item.

        Raises:
            DataError: The item is no dataset or is damaged.
        """
        with _readable(self.label, key):
            dataset = self._file[key]
            if isinstance(dataset, h5py.Dataset):
                self._check_own(key, dataset)
                return Header(dataset.shape, dataset.dtype)
        raise DataError(f"{self.label}: {key!r} is a group, expected a dataset")

    def read(self, key: str) -> np.ndarray:
        """Features of an item, (rows, dim).

        Raises:
            DataError: The item is damaged.
        """
        with _readable(self.label, key):
            dataset = self._file[key]
            self._check_own(key, dataset)
            array: np.ndarray = dataset[()]
        return array.reshape(array.shape[-2:])

    def _check_own(self, key: str, dataset: h5py.Dataset) -> None:
        """HDF5 can take an item's bytes from any file on this machine; we import none of those."""
        is_linked = h5py.h5i.get_file_id(dataset.id).name != self._file.id.name
        if is_linked or dataset.external or dataset.is_virtual:
            raise DataError(
                f"{self.label}: {key!r} lies in another file, which is not followed; copy its "
                "data into this one (h5repack, or h5py)"
            )


@contextmanager
def open_hdf5(path: Path, problems: Problems) -> Iterator[Hdf5Features | None]:
    """Open a feature file; None, with a problem, if that cannot be done."""
    try:
        # Without locks: they fail on many read-only and network file systems.
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        problems.add("missing file", str(path))
        yield None
    except OSError as error:
        problems.add("truncated or damaged file", f"{path} cannot be opened as HDF5 ({error})")
        yield None
    else:
        with file:
            _bound_cache(file)
            yield Hdf5Features(path, file)


def _bound_cache(file: h5py.File) -> None:
    # By default HDF5 caches up to 32 MiB about items, of which we visit each only twice.
    config = file.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = config.max_size = _CACHE_BYTES
    file.id.set_mdc_config(config)


@contextmanager
def _readable(label: str, what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{label}: {what!r} cannot be read ({error})") from error
