"""Finds files by the names that they may have, and says what is there in their place."""

from collections.abc import Sequence
from pathlib import Path

from prvr_model.errors import did_you_mean
from prvr_model.store.importers.problems import ProblemError

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")

_SHOWN_NAMES = 8


def feature_file(
    folder: Path, expected: str, chosen: str | None, option: str, notes: list[str]
) -> Path:
    """The HDF5 file of a folder that is meant.

    Args:
        folder: The folder, which exists.
        expected: Name that the layout gives the file.
        chosen: Name or path that the user gives it; None: the expected one, or the only one there.
        option: Option that chooses.
        notes: Told of a file that is taken without having been named.

    Raises:
        ProblemError: No file, or several that may be meant; lists what is there.
        OSError: The folder cannot be read.
    """
    path = folder / (chosen or expected)
    if path.is_file():
        return path
    if path.is_symlink():
        raise ProblemError("missing file", f"{path} is a link to {path.readlink()}, which is gone")
    names = names_in(folder)
    found = [name for name in names if Path(name).suffix.lower() in HDF5_SUFFIXES]
    if chosen is None and len(found) == 1:
        notes.append(f"{folder.name}/{found[0]} is taken: it is the only HDF5 file there")
        return folder / found[0]
    if chosen is None and found:
        raise ProblemError(
            "several feature files",
            f"{folder} has no {expected}, but {', '.join(found)}; name one with {option} NAME",
        )
    remedy = "" if chosen else f"; {option} NAME takes another"
    near = did_you_mean(path.name, names) if path.parent == folder else ""
    raise ProblemError("missing file", f"{path}; {holds(folder, names)}{remedy}{near}")


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
