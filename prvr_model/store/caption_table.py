"""Reads a table of captions: CSV, JSON lines or Parquet, one caption a row.

Columns: `video` and `caption`; optional `start` and `end` (seconds of the moment that the caption
describes), `split` (train, val or test), `relevant` (every video that shows what it says: a list,
in CSV as JSON) and `id` (of the caption). Other columns are left alone.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prvr_model.errors import CorpusError, DataError, did_you_mean
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.format import SPLIT_NAMES

_READ_AS = {".csv": "CSV", ".jsonl": "JSON lines", ".ndjson": "JSON lines", ".parquet": "Parquet"}
_COLUMNS = ("video", "caption", "start", "end", "split", "relevant", "id")
# A table of the wrong kind has a problem in each row; twenty show which.
_SHOWN = 20


@dataclass(frozen=True)
class CaptionRow:
    """One caption of a table.

    Args:
        place: File and row, for messages.
        video: Id of its video.
        caption: The sentence.
        moment: Start and end in seconds of what it describes; None if not known.
        split: train, val or test; None if the table does not say.
        relevant: Ids of all videos that are verified to show it; empty if nobody verified.
        caption_id: Its id; None if the table does not say.
    """

    place: str
    video: str
    caption: str
    moment: tuple[float, float] | None = None
    split: str | None = None
    relevant: tuple[str, ...] = ()
    caption_id: str | None = None

    @property
    def annotation(self) -> CaptionAnnotation:
        """What a store keeps of it besides its text."""
        return CaptionAnnotation((self.moment,) if self.moment else (), self.relevant)


def read_caption_table(path: Path) -> list[CaptionRow]:
    """Captions of a table in its order.

    Args:
        path: A file that ends in .csv, .jsonl, .ndjson or .parquet.

    Raises:
        CorpusError: Lists the rows that cannot be used.
        DataError: The file cannot be read, or is no such table.
    """
    rows: list[CaptionRow] = []
    problems: list[str] = []
    for place, values in _records(path):
        try:
            rows.append(_row(place, values))
        except DataError as error:
            problems.append(f"{place}: {error}")
    if not rows and not problems:
        raise DataError(f"{path} has no captions")
    without = [row.place for row in rows if row.split is None]
    if 0 < len(without) < len(rows):
        problems.append(f"{without[0]}: no split, though other rows have one")
    if problems:
        more = len(problems) - _SHOWN
        shown = problems[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise CorpusError(f"{path}: {len(problems)} rows cannot be used", shown)
    return rows


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and values of each row, as the file has them."""
    kind = _READ_AS.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path} is no table of captions; allowed: {', '.join(_READ_AS)}")
    read = {"CSV": _csv_records, "JSON lines": _json_records, "Parquet": _parquet_records}[kind]
    try:
        yield from read(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not {kind} in UTF-8: {error}") from error


def _csv_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        _check_columns(path, reader.fieldnames or ())
        for values in reader:
            filled = {name: value for name, value in values.items() if value}
            if "relevant" in filled:
                filled["relevant"] = _json(filled["relevant"])
            yield f"{path.name}:{reader.line_num}", filled


def _json_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            values = _json(line)
            if not isinstance(values, dict):
                raise DataError(f"{path.name}:{number} is not a JSON object; allowed: one a line")
            if number == 1:
                _check_columns(path, tuple(values))
            yield f"{path.name}:{number}", values


def _parquet_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        _check_columns(path, file.schema_arrow.names)
        known = [name for name in _COLUMNS if name in file.schema_arrow.names]
        number = 0
        for batch in file.iter_batches(columns=known):
            for values in batch.to_pylist():
                number += 1
                yield f"{path.name}, row {number}", values
    except pa.ArrowException as error:
        raise DataError(f"{path} is not Parquet: {str(error).splitlines()[0]}") from error


def _check_columns(path: Path, names: Any) -> None:  # noqa: ANN401
    for wanted in ("video", "caption"):
        if wanted not in names:
            found = ", ".join(map(str, names)) or "none"
            near = did_you_mean(wanted, map(str, names))
            raise DataError(f"{path} has no column {wanted!r}; it has {found}{near}")


def _json(text: str) -> object:
    """A JSON value; text that is none stays as it is, and is refused where its row is read."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _row(place: str, values: Mapping[str, Any]) -> CaptionRow:
    return CaptionRow(
        place=place,
        video=_text("video", values),
        caption=_text("caption", values),
        moment=_moment(values),
        split=_split(values),
        relevant=_relevant(values),
        caption_id=_text("id", values) if values.get("id") is not None else None,
    )


def _text(name: str, values: Mapping[str, Any]) -> str:
    found = values.get(name)
    text = str(found).strip() if isinstance(found, str | int) else ""
    if not text or "\0" in text:
        raise DataError(f"{name} is {found!r}; allowed: text")
    return text


def _moment(values: Mapping[str, Any]) -> tuple[float, float] | None:
    start, end = (_seconds(name, values) for name in ("start", "end"))
    if start is None and end is None:
        return None
    if start is None or end is None or not 0 <= start < end < math.inf:
        raise DataError(
            f"start is {values.get('start')!r}, end is {values.get('end')!r}; allowed: seconds, "
            "0 <= start < end, or neither"
        )
    return start, end


def _seconds(name: str, values: Mapping[str, Any]) -> float | None:
    found = values.get(name)
    if found is None:
        return None
    try:
        return float(found)
    except (TypeError, ValueError):
        raise DataError(f"{name} is {found!r}; allowed: seconds") from None


def _split(values: Mapping[str, Any]) -> str | None:
    found = values.get("split")
    if found is not None and found not in SPLIT_NAMES:
        raise DataError(f"split is {found!r}; allowed: {', '.join(SPLIT_NAMES)}")
    return found


def _relevant(values: Mapping[str, Any]) -> tuple[str, ...]:
    found = values.get("relevant")
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(video, str | int) for video in found):
        raise DataError(f"relevant is {found!r}; allowed: a list of videos, in CSV as JSON")
    return tuple(map(str, found))
