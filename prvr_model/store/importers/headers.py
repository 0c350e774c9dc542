"""Checks shape and type of all features before any is read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from prvr_model.store.format import DTypeName
from prvr_model.store.importers.corpus import Corpus, Item
from prvr_model.store.importers.features import FeatureSource, Header
from prvr_model.store.importers.problems import ProblemError, Problems


@dataclass(frozen=True)
class FeatureShape:
    """Numbers that all features of a kind share, and the bytes that they take in a store."""

    dim: int
    dtype: DTypeName
    num_bytes: int


def check_headers(
    source: FeatureSource | None, items: list[Item], unit: str, corpus: Corpus
) -> tuple[list[Item], FeatureShape | None]:
    """Items whose header is fine, and what they share; problems for the others."""
    if source is None:
        return [], None
    headers = list(_headers(source, items, corpus.problems))
    dims = Counter(header.dim for _, header in headers if header.dim is not None)
    # The dimension of most items: that of the first could be odd and make all others problems.
    dim = dims.most_common(1)[0][0] if dims else None
    problems = corpus.problems
    fine = [
        (item, header)
        for item, header in headers
        if _header_is_fine(f"{source.label}: {item.key!r}", header, dim, unit, problems)
    ]
    if hint := _transposed([header for _, header in headers]):
        problems.hint(f"{source.label}: {hint}")
    if not fine or dim is None:
        return [], None
    if unit == "tokens" and all(header.num_rows == 1 for _, header in fine):
        corpus.notes.append(f"{source.label}: each caption is a single row, its sentence vector")
    dtype = _common_dtype(source, fine, corpus.notes)
    rows = sum(header.num_rows or 0 for _, header in fine)
    shape = FeatureShape(dim, dtype, rows * dim * np.dtype(dtype).itemsize)
    return [item for item, _ in fine], shape


def _headers(
    source: FeatureSource, items: list[Item], problems: Problems
) -> Iterator[tuple[Item, Header]]:
    for item in items:
        try:
            yield item, source.header(item.key)
        except ProblemError as error:
            problems.add(error.kind, str(error))


def _header_is_fine(
    where: str, header: Header, dim: int | None, unit: str, problems: Problems
) -> bool:
    if header.dtype.kind != "f":
        found = _KINDS.get(header.dtype.kind, str(header.dtype))
        problems.add(
            "wrong type", f"{where} holds {found}, expected floating point (float16 or float32)"
        )
    elif header.dim is None:
        problems.add("wrong dimensions", f"{where} has shape {header.shape}, expected (L, D)")
    elif header.num_rows == 0:
        problems.add(f"zero {unit}", f"{where} has shape {header.shape}")
    elif header.dim != dim:
        turned = "; transposed?" if header.num_rows == dim else ""
        problems.add(
            "wrong dimensions", f"{where} has dimension {header.dim}, most have {dim}{turned}"
        )
    else:
        return True
    return False


# What numpy calls by a letter.
_KINDS = {"O": "text or lists of any length", "S": "text", "U": "text", "V": "records"}


def _transposed(headers: list[Header]) -> str | None:
    """That arrays lie as (D, L), where they agree in rows and differ in columns."""
    rows = {header.num_rows for header in headers if header.num_rows}
    dims = Counter(header.dim for header in headers if header.dim)
    if len(rows) != 1 or 2 * max(dims.values()) >= dims.total():
        return None
    return (
        f"all arrays have {rows.pop()} rows and between {min(dims)} and {max(dims)} columns: they "
        "lie transposed, (D, L); store array.T"
    )


def _common_dtype(
    source: FeatureSource, fine: list[tuple[Item, Header]], notes: list[str]
) -> DTypeName:
    widest = max((header.dtype for _, header in fine), key=lambda dtype: dtype.itemsize)
    if widest.itemsize > np.dtype(np.float32).itemsize:
        notes.append(f"{source.label} has {widest.name} features; they are stored as float32")
    return "float16" if widest.itemsize == np.dtype(np.float16).itemsize else "float32"
