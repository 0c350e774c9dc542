"""What all readers of features offer, whatever files they read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


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


class FeatureSource(Protocol):
    """Features by key, as one layout keeps them."""

    @property
    def label(self) -> str:
        """Its name in messages."""

    def names(self) -> Iterator[str]:
        """Every name; of nested ones the first part is enough; raises ProblemError."""

    def find(self, candidates: Iterable[str]) -> str | None:
        """The key of the first of `candidates` that exists; raises ProblemError."""

    def outline(self, name: str) -> str:
        """What a name leads to, in a few words; raises ProblemError."""

    def header(self, key: str) -> Header:
        """Shape and type; raises ProblemError."""

    def read(self, key: str) -> np.ndarray:
        """(rows, dim); raises ProblemError."""


def header_of(shape: tuple[int, ...], dtype: np.dtype[Any], takes_vectors: bool) -> Header:
    """Header of an array.

    Args:
        shape: Its shape.
        dtype: Its type.
        takes_vectors: Whether (D,) is an item of one row, as pooled features of captions are.
    """
    return Header((1, *shape) if takes_vectors and len(shape) == 1 else shape, dtype)


def as_rows(array: np.ndarray) -> np.ndarray:
    """(rows, dim) of an array that is (D,), (L, D) or (1, L, D)."""
    return array.reshape((1, *array.shape)[-2:])
