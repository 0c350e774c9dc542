"""Rows of tables and annotation files, each with its place; content tells the format.

| format | rows |
|---|---|
| Parquet, CSV | its rows; an empty value of CSV is None |
| JSON lines, a JSON list, a single JSON object | its objects |
| Charades-STA | its lines, below the column `CHARADES_LINE` |
"""

import csv
import io
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from prvr_model.store.importers.foreign_files import HEAD_BYTES, foreign_kind
from prvr_model.store.importers.problems import Problems

Row: TypeAlias = tuple[str, Mapping[str, Any]]
"""File and place in it, and the row's values by column."""

CHARADES_LINE = "<video> <start> <end>##<sentence>"

MALFORMED = "malformed record"
UNKNOWN = "unknown annotation file"
_UNREADABLE = "unreadable file"
_FOREIGN = "not an annotation file"


def first_of(columns: Collection[str] | Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of some names that is a column; empty if none is."""
    return next((name for name in names if name in columns), "")


def read_rows(path: Path, problems: Problems) -> list[Row]:
    """Rows of a file in its order; what is wrong becomes problems."""
    before = problems.count
    rows = _parquet_rows(path, problems) if _is_parquet(path) else _text_rows(path, problems)
    if not rows and problems.count == before:
        problems.add(UNKNOWN, f"{path}: holds no records")
    return rows


def read_text(path: Path, problems: Problems) -> str | None:
    """A file's text; None and a problem if it has none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.add(_UNREADABLE, f"{path}: {error.strerror}")
        return None
    if kind := foreign_kind(path, content[:HEAD_BYTES]):
        problems.add(_FOREIGN, f"{path}: {kind}")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.add(_FOREIGN, f"{path}: it is not UTF-8 text")
        return None


def _is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file; no for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _parquet_rows(path: Path, problems: Problems) -> list[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        values = parquet.read_table(path).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        problems.add(_UNREADABLE, f"{path}: {error}")
        return []
    return [(f"{path.name}, row {number}", row) for number, row in enumerate(values, start=1)]


def _text_rows(path: Path, problems: Problems) -> list[Row]:
    text = read_text(path, problems)
    if text is None:
        return []
    if text.lstrip()[:1] in ("{", "["):
        return _json_rows(path, text, problems)
    if "##" in text.partition("\n")[0]:
        return [(place, {CHARADES_LINE: line}) for place, line in _lines(path, text)]
    return _csv_rows(path, text, problems)


def _lines(path: Path, text: str) -> list[tuple[str, str]]:
    # Captions hold characters at which `splitlines` would split.
    numbered = enumerate(text.split("\n"), start=1)
    return [(f"{path.name}:{number}", line.strip()) for number, line in numbered if line.strip()]


def _json_rows(path: Path, text: str, problems: Problems) -> list[Row]:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return _json_lines(path, text, problems)
    values = whole if isinstance(whole, list) else [whole]
    if not all(isinstance(value, dict) for value in values):
        problems.add(MALFORMED, f"{path}: a JSON list of other things than objects")
        return []
    return [(f"{path.name}, record {number}", row) for number, row in enumerate(values, start=1)]


def _json_lines(path: Path, text: str, problems: Problems) -> list[Row]:
    rows: list[Row] = []
    for place, line in _lines(path, text):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(MALFORMED, f"{place} is not JSON ({error})")
            continue
        if isinstance(value, dict):
            rows.append((place, value))
        else:
            problems.add(MALFORMED, f"{place} is no JSON object")
    return rows


def _csv_rows(path: Path, text: str, problems: Problems) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        for row in reader:
            place = f"{path.name}:{reader.line_num}"
            # Values beyond the header's columns stand below None.
            if any(row.pop(None, ())):
                problems.add(MALFORMED, f"{place} has more values than the header; quote commas")
            else:
                rows.append((place, {name: value or None for name, value in row.items()}))
    except csv.Error as error:
        problems.add(MALFORMED, f"{path.name}:{reader.line_num} is not CSV ({error})")
    return rows
