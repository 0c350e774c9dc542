"""Token features of sentences from files of numpy."""

import zipfile
from pathlib import Path

import numpy as np

from orchestrator.base.errors import QueryError


def read_tokens(file: Path) -> list[np.ndarray]:
    """Token features of one sentence (.npy) or of several (.npz), (length, dimension) each.

    Raises:
        QueryError: The file cannot be read, or holds something else.
    """
    try:
        loaded = np.load(file, allow_pickle=False)
        arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {file.name: loaded}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise QueryError(f"--tokens: {file} cannot be read: {reason}") from error
    for name, array in arrays.items():
        is_real = np.issubdtype(array.dtype, np.floating)
        if array.ndim != 2 or not len(array) or not is_real or not np.isfinite(array).all():
            raise QueryError(
                f"--tokens: {name} of {file} has shape {array.shape} and type {array.dtype}; "
                "wanted finite real numbers of shape (length, dimension)"
            )
    if not arrays:
        raise QueryError(f"--tokens: {file} holds no array")
    return list(arrays.values())
