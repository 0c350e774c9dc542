"""The Arrow files that a store consists of: rows of features with their texts, in batches."""

import math
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from prvr_model.errors import DataError
from prvr_model.files.durable import sync_file
from prvr_model.store.format import ContentDigest, DTypeName

# Bytes of features that a file collects before it writes a batch. Two files per split are open, so
# memory stays below some ten times this; a batch is large enough that its header costs nothing.
_BATCH_BYTES = 2 * 2**20
Values: TypeAlias = Mapping[str, Any]
"""Values of an item besides its features, by column."""


class ArrowFile:
    """A file of a store in the making, which grows by batches.

    Args:
        path: The file.
        layout: Its columns.

    Raises:
        OSError: The file cannot be written; also raised by each method but `abandon`.
    """

    def __init__(self, path: Path, layout: pa.Schema) -> None:
        self.path = path
        self.digest = ContentDigest()
        self.num_items = 0
        self.num_rows = 0
        self._schema = layout
        self._values: list[Values] = []
        self._rows: list[np.ndarray] = []
        self._bytes = 0
        with ExitStack() as stack:
            self._file = stack.enter_context(path.open("wb"))
            self._arrow = pa.ipc.new_file(self._file, layout)
            stack.pop_all()

    def append(
        self, values: Values, texts: tuple[str, ...], rows: np.ndarray, annotation: bytes
    ) -> None:
        """Append an item.

        Args:
            values: Its values besides its features, by column.
            texts: Texts that enter the content's digest besides the features.
            rows: Its features, see `stored_rows`.
            annotation: What else enters the digest.
        """
        self.digest.add(texts, rows, annotation)
        self._values.append(values)
        self._rows.append(rows)
        self._bytes += rows.nbytes
        self.num_items += 1
        self.num_rows += len(rows)
        if self._bytes >= _BATCH_BYTES:
            self._write_batch()

    def finish(self) -> None:
        """Write the rest, flush it to the disk, and close the file."""
        if self._rows:
            self._write_batch()
        self._arrow.close()
        sync_file(self._file)
        self._file.close()

    def abandon(self) -> None:
        """Close the file, whole or not."""
        # Closing flushes, and a full disk refuses that too; the file is removed anyway.
        with suppress(OSError):
            self._file.close()

    def _write_batch(self) -> None:
        columns = []
        for field in self._schema:
            if field.name == "features":
                columns.append(_list_array(self._rows, field.type))
            else:
                columns.append(pa.array([value[field.name] for value in self._values], field.type))
        self._arrow.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._values, self._rows, self._bytes = [], [], 0


def _list_array(items: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in items])]).astype(np.int64)
    flat = np.concatenate(items).reshape(-1)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind.value_type)
    return pa.LargeListArray.from_arrays(pa.array(offsets), rows, type=kind)


def stored_rows(item: str, rows: np.ndarray, dim: int, dtype: DTypeName) -> np.ndarray:
    """A copy of `rows` as a store keeps it: (rows, dim), contiguous, of type `dtype`.

    Args:
        item: What the rows are, for messages.
        rows: Features of a video or a caption, any floating type.
        dim: Dimension that is wanted.
        dtype: Type that is wanted.

    Raises:
        DataError: Wrong shape, no rows, or values that are not finite in `dtype`.
    """
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise DataError(f"{item} has shape {rows.shape}, expected (any number, {dim})")
    if not len(rows):
        raise DataError(f"{item} has no rows")
    with np.errstate(over="ignore"):
        stored = np.array(rows, dtype=np.dtype(dtype).newbyteorder("<"), order="C")
    # One pass without a temporary: in float64 the sum of finite values cannot overflow.
    if not math.isfinite(float(np.sum(stored, dtype=np.float64))):
        count = int(np.count_nonzero(~np.isfinite(stored)))
        raise DataError(f"{item} has {count} values that are NaN or infinite")
    return stored
