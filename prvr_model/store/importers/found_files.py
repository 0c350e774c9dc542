"""Finds files by the names that they may have, and says what is there in their place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prvr_model.errors import did_you_mean
from prvr_model.store.importers.problems import ProblemError

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")

_SHOWN_NAMES = 8


@dataclass(frozen=True)
class Wanted:
    """A file or folder that a layout looks for.

    Args:
        what: What it is, for messages.
        option: Option that chooses one.
        fits: Whether a path may be meant.
        expected: Name that the layout gives it; None where any name will do.
    """

    what: str
    option: str
    fits: Callable[[Path], bool]
    expected: str | None = None


def is_hdf5_name(path: Path) -> bool:
    """Whether a file's name ends as those of HDF5 files do."""
    return path.suffix.lower() in HDF5_SUFFIXES


def the_one(folder: Path, wanted: Wanted, chosen: str | None, notes: list[str]) -> Path:
    """The file or folder of a folder that is meant.

    Args:
        folder: The folder, which exists.
        wanted: What is looked for.
        chosen: Name or path that the user gives it; None: the expected one, or the only one there.
        notes: Told of one that is taken without having been named.

    Raises:
        ProblemError: None, or several that may be meant; lists what is there.
        OSError: The folder cannot be read.
    """
    path = folder / (chosen or wanted.expected or "")
    if path != folder and path.exists():
        return path
    if path.is_symlink():
        raise ProblemError("missing file", f"{path} is a link to {path.readlink()}, which is gone")
    names = names_in(folder)
    found = [name for name in names if wanted.fits(folder / name)]
    if chosen is None and len(found) == 1:
        notes.append(f"{folder.name}/{found[0]} is taken: it is the only {wanted.what} there")
        return folder / found[0]
    if chosen is None and found:
        lacks = f"no {wanted.expected}, but " if wanted.expected else ""
        raise ProblemError(
            "several feature files",
            f"{folder} has {lacks}{', '.join(found)}; name one with {wanted.option} NAME",
        )
    sought = f"{path}" if path != folder else f"{folder} has no {wanted.what}"
    remedy = "" if chosen else f"; {wanted.option} NAME takes another"
    near = did_you_mean(path.name, names) if path.parent == folder else ""
    raise ProblemError("missing file", f"{sought}; {holds(folder, names)}{remedy}{near}")


def names_in(folder: Path) -> list[str]:
    """Names in a folder, sorted, those of folders with a slash; hidden ones are left out.

    Raises:
        OSError: It cannot be read.
    """
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(f"{path.name}/" if path.is_dir() else path.name for path in paths)


def holds(folder: Path, names: Sequence[str]) -> str:
    """A sentence with the first names in a folder."""
    if not names:
        return f"{folder} is empty"
    more = len(names) - _SHOWN_NAMES
    tail = f" and {more} more" if more > 0 else ""
    return f"{folder} holds {', '.join(names[:_SHOWN_NAMES])}{tail}"
