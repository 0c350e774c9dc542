"""Rows of annotation files: JSON lines, a JSON list, CSV and Parquet, each with its place."""

import csv
import io
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from prvr_model.store.importers.foreign_files import HEAD_BYTES, foreign_kind
from prvr_model.store.importers.problems import Problems

Row: TypeAlias = tuple[str, Mapping[str, Any]]
"""Line or place in the file, and the row's values by column."""

_UNREADABLE = "unreadable file"


def first_of(columns: Collection[str] | Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of some names that is a column; empty if none is."""
    return next((name for name in names if name in columns), "")


def is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file; no for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def read_text(path: Path, problems: Problems) -> str | None:
    """A file's text; None and a problem if it has none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.add(_UNREADABLE, f"{path}: {error.strerror}")
        return None
    if kind := foreign_kind(path, content[:HEAD_BYTES]):
        problems.add("not an annotation file", f"{path}: {kind}")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.add("not an annotation file", f"{path}: it is not UTF-8 text")
        return None


def json_values(path: Path, text: str, problems: Problems) -> list[Row] | None:
    """Objects of a file of JSON lines, of one JSON list, or its only object.

    Returns:
        None if it is no JSON; lines that are none become problems.
    """
    try:
        whole = json.loads(text)
    except ValueError:
        return _json_lines(path, text, problems)
    values = whole if isinstance(whole, list) else [whole]
    if all(isinstance(value, dict) for value in values):
        return [(f"record {number}", value) for number, value in enumerate(values, start=1)]
    problems.add("malformed record", f"{path}: a JSON list of other things than objects")
    return None


def _json_lines(path: Path, text: str, problems: Problems) -> list[Row] | None:
    rows: list[Row] = []
    # Captions hold characters at which `splitlines` would split.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            problems.add("malformed record", f"{path.name}:{number} is not JSON ({error})")
            continue
        if isinstance(value, dict):
            rows.append((str(number), value))
        else:
            problems.add("malformed record", f"{path.name}:{number} is no JSON object")
    return rows or None


def table_rows(path: Path, problems: Problems) -> list[Row] | None:
    """Rows of a Parquet or CSV file; None and a problem if it cannot be read."""
    if is_parquet(path):
        return _parquet_rows(path, problems)
    text = read_text(path, problems)
    if text is None:
        return None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    # Values beyond the header's columns stand below None.
    return [
        (str(reader.line_num), {name: value for name, value in row.items() if name is not None})
        for row in reader
    ]


def _parquet_rows(path: Path, problems: Problems) -> list[Row] | None:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        problems.add(_UNREADABLE, f"{path}: {error}")
        return None
    return [(f"row {number}", row) for number, row in enumerate(table.to_pylist(), start=1)]
