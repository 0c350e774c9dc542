"""Reads features from an HDF5 file with one dataset per video or caption."""

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from prvr_model.store.importers.features import Header, as_rows, header_of
from prvr_model.store.importers.foreign_files import HEAD_BYTES, foreign_kind
from prvr_model.store.importers.problems import ProblemError, Problems

# What h5py raises for damaged files and types that numpy has not, by the layer that notices.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)

# Filters that the package hdf5plugin has, by their registered numbers.
_PLUGIN_FILTERS = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
    32033: "HTJ2K",
}
_OTHER_FILTERS = {4: "szip", 305: "LZO", 32000: "LZF"}

_CACHE_BYTES = 2**20
_SHOWN_MEMBERS = 3


class Hdf5Features:
    """Features by key; reads one item at a time.

    Arrays may lie one group deeper: all in the only group of the file, or each in a group of its
    own that holds nothing else.
    """

    def __init__(self, path: Path, file: h5py.File, takes_vectors: bool) -> None:
        self.path = path
        # The files of videos and captions often have the same name.
        self.label = f"{path.parent.name}/{path.name}"
        self._file = file
        self._takes_vectors = takes_vectors
        self._first_with_filter: dict[int, str] = {}

    def names(self) -> Iterator[str]:
        """Names at the top level, in the file's order; bytes that are no UTF-8 are escaped."""
        with _readable(self.label, "the list of keys"):
            group = self._file[self._only_group] if self._only_group else self._file
            yield from (f"{self._only_group}{_text(name)}" for name in list(group))

    def find(self, candidates: Iterable[str]) -> str | None:
        """The first of `candidates` that the file has."""
        with _readable(self.label, "the list of keys"):
            keys = [key for name in candidates for key in (name, f"{self._only_group}{name}")]
            return next((key for key in keys if key in self._file), None)

    @cached_property
    def _only_group(self) -> str:
        """Name of the group that holds everything, with a slash; empty if there is none."""
        names = list(islice(self._file, 2))
        if len(names) != 1 or not isinstance(names[0], str):
            return ""
        return f"{names[0]}/" if self._file.get(names[0], getclass=True) is h5py.Group else ""

    def outline(self, key: str) -> str:
        """What a key leads to, in a few words, e.g. `a group of 24 ('a', 'b', 'c', ...)`."""
        with _readable(self.label, repr(key)):
            item = self._file[key.encode(errors="surrogateescape")]
            if isinstance(item, h5py.Dataset):
                return f"a dataset of shape {item.shape}"
            if not isinstance(item, h5py.Group):
                return "a type"
            names = [repr(_text(name)) for name in islice(item, _SHOWN_MEMBERS)]
            more = ["..."] if len(item) > len(names) else []
            return f"a group of {len(item)} ({', '.join(names + more)})"

    def header(self, key: str) -> Header:
        """Shape and type of an item.

        Raises:
            ProblemError: The item is no array, or is damaged.
        """
        with _readable(self.label, repr(key)):
            dataset = self._dataset(key)
            if dataset.shape is None:
                raise ProblemError(
                    "empty dataset",
                    f"{self.label}: {key!r} holds no data (a null dataspace), expected (L, D)",
                )
            return header_of(dataset.shape, dataset.dtype, self._takes_vectors)

    def read(self, key: str) -> np.ndarray:
        """Features of an item, (rows, dim).

        Raises:
            ProblemError: The item is damaged, or compressed by a filter that is not there.
        """
        with _readable(self.label, repr(key)):
            dataset = self._dataset(key)
            try:
                array: np.ndarray = dataset[()]
            except OSError:
                self._refuse_missing_filter(key, dataset)
                array = dataset[()]
        return as_rows(array)

    def _dataset(self, key: str) -> h5py.Dataset:
        item = self._file[key]
        if isinstance(item, h5py.Group) and len(item) == 1:
            item = item[next(iter(item))]
        if not isinstance(item, h5py.Dataset):
            raise ProblemError(
                "no dataset",
                f"{self.label}: {key!r} is {self.outline(key)}, expected a dataset (L, D)",
            )
        self._check_own(key, item)
        return item

    def _check_own(self, key: str, dataset: h5py.Dataset) -> None:
        """HDF5 can take an item's bytes from any file on this machine; we import none of those."""
        is_linked = h5py.h5i.get_file_id(dataset.id).name != self._file.id.name
        if is_linked or dataset.external or dataset.is_virtual:
            raise ProblemError(
                "unreadable features",
                f"{self.label}: {key!r} lies in another file, which is not followed; copy its "
                "data into this one (h5repack, or h5py)",
            )

    def _refuse_missing_filter(self, key: str, dataset: h5py.Dataset) -> None:
        """Say which filter a dataset needs that is not there; items of one filter say the same."""
        for code in _missing_filters(dataset):
            first = self._first_with_filter.setdefault(code, key)
            old, new = (shlex.quote(f"{self.path}{end}") for end in ("", ".new"))
            advice = f"rewrite the file where the filter is: h5repack -f NONE {old} {new}"
            if code in _PLUGIN_FILTERS:
                advice = f"pip install hdf5plugin, or {advice}"
            raise ProblemError(
                "missing compression filter",
                f"{self.label} is compressed with {_filter_name(code)}, which is not installed "
                f"here (first {first!r}): {advice}",
            )


def _text(name: str | bytes) -> str:
    # h5py gives bytes where a name is not UTF-8.
    return name if isinstance(name, str) else name.decode(errors="surrogateescape")


def _missing_filters(dataset: h5py.Dataset) -> list[int]:
    """Numbers of a dataset's filters that cannot be had."""
    settings = dataset.id.get_create_plist()
    codes = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if all(map(h5py.h5z.filter_avail, codes)):
        return []
    with suppress(ImportError):
        # Makes its filters known to HDF5 by being imported.
        import_module("hdf5plugin")
    return [code for code in codes if not h5py.h5z.filter_avail(code)]


def _filter_name(code: int) -> str:
    name = {**_PLUGIN_FILTERS, **_OTHER_FILTERS}.get(code)
    return f"{name} (HDF5 filter {code})" if name else f"HDF5 filter {code}"


@contextmanager
def open_hdf5(
    path: Path, problems: Problems, takes_vectors: bool = False
) -> Iterator[Hdf5Features | None]:
    """Open a feature file; None, with a problem, if that cannot be done.

    Args:
        path: The file.
        problems: Takes what is wrong with it.
        takes_vectors: Whether (D,) is an item of one row.
    """
    try:
        # Without locks: they fail on many read-only and network file systems.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        problems.add(*_opening_problem(path, error))
        yield None
    else:
        with file:
            _bound_cache(file)
            yield Hdf5Features(path, file, takes_vectors)


def _opening_problem(path: Path, error: OSError) -> tuple[str, str]:
    """Kind of a file that HDF5 does not open, and what to do about it."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as refusal:
        return "unreadable file", f"{path}: {refusal.strerror}"
    reason = str(error)
    if "already open for" in reason:
        return "unfinished file", (
            f"{path} was not closed by the program that writes it; if it still runs, wait for it, "
            f"if it was killed: h5clear -s {shlex.quote(str(path))} (one of HDF5's tools)"
        )
    if "unable to lock file" in reason:
        return "locked file", (
            f"{path} cannot be locked, which the environment asks for, e.g. on NFS: set "
            "HDF5_USE_FILE_LOCKING=FALSE"
        )
    if "truncated file" in reason:
        sizes = re.search(r"eof = (\d+),.* stored_eof = (\d+)", reason)
        has = f" (it has {sizes[1]} of {sizes[2]} bytes)" if sizes else ""
        return "truncated file", f"{path} ends too early{has}: copy or download it again"
    if "signature not found" in reason:
        kind = foreign_kind(path, head) or "it is damaged from its first bytes on, or another kind"
        return "not an HDF5 file", f"{path}: {kind}"
    return "damaged file", f"{path} cannot be opened as HDF5 ({reason})"


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
        kind = "unreadable features"
        raise ProblemError(kind, f"{label}: {what} cannot be read ({error})") from error
