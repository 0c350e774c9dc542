"""Reads the annotation files in which users have moments and durations; content tells the kind.

| kind | content |
|---|---|
| TVR | JSON lines: vid_name, desc, ts [start, end], duration |
| QVHighlights | JSON lines: vid, query, relevant_windows, duration |
| ActivityNet | one JSON object: video -> duration, timestamps (or moments), perhaps sentences |
| Charades-STA | lines `<video> <start> <end>##<sentence>`; a CSV file has id and length |
| table | CSV, JSON lines or Parquet: video or caption_id, caption, start, end, perhaps duration |
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prvr_model.store.importers.annotation_rows import (
    Row,
    first_of,
    is_parquet,
    json_values,
    read_text,
    table_rows,
)
from prvr_model.store.importers.problems import Problems

_VIDEO = ("video", "video_id", "vid", "vid_name")
_CAPTION_ID = ("caption_id", "query_id")
_TEXT = ("caption", "text", "sentence", "query", "desc")
_START, _END = ("start", "start_s", "start_time"), ("end", "end_s", "end_time")
_DURATION = ("duration", "duration_s")
# What a file of lengths alone may call them.
_LENGTH = (*_DURATION, "length", "length_s")
_KINDS = (
    "TVR and QVHighlights JSON lines, ActivityNet JSON, Charades-STA text, or a table (CSV, JSON "
    "lines, Parquet) with video or caption_id, caption, start and end"
)
_MALFORMED = "malformed moment"
_UNKNOWN = "unknown annotation file"


@dataclass(frozen=True, slots=True)
class MomentRecord:
    """What a file says of one caption; a table says it in several records where it has several.

    Args:
        place: File and line, or file and video.
        video_id: Its video as the file writes it; empty where only the caption's id is given.
        moments: Start and end in seconds of each span.
        caption_id: Id of the caption; empty if the file has none.
        text: The caption; empty if the file has none.
        number: Place among the records of its video; captions without text are found by it.
    """

    place: str
    video_id: str
    moments: tuple[tuple[float, float], ...]
    caption_id: str = ""
    text: str = ""
    number: int = 0


@dataclass(frozen=True)
class MomentFile:
    """Content of one file.

    Args:
        path: The file.
        kind: What it was recognised as.
        records: Its captions in order.
        durations_s: Length of each video that it names one for.
    """

    path: Path
    kind: str
    records: tuple[MomentRecord, ...]
    durations_s: Mapping[str, float]


def read_moment_file(path: Path, problems: Problems) -> MomentFile | None:
    """Moments of a file of any known kind; what is wrong becomes problems.

    Returns:
        None if the file cannot be read or is of no known kind.
    """
    if is_parquet(path):
        return _from_rows(path, table_rows(path, problems), problems)
    text = read_text(path, problems)
    if text is None:
        return None
    if text.lstrip()[:1] in ("{", "["):
        return _from_json(path, text, problems)
    if "##" in text.partition("\n")[0]:
        return _collected(path, "Charades-STA", _lines(text), problems)
    return _from_rows(path, table_rows(path, problems), problems)


def _from_json(path: Path, text: str, problems: Problems) -> MomentFile | None:
    values = json_values(path, text, problems)
    if values is None:
        return None
    if len(values) == 1 and _is_by_video(values[0][1]):
        return _activitynet(path, values[0][1], problems)
    return _from_rows(path, values, problems)


def _is_by_video(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(
        isinstance(known, dict) and ("timestamps" in known or "moments" in known)
        for known in value.values()
    )


def _from_rows(path: Path, rows: Iterable[Row] | None, problems: Problems) -> MomentFile | None:
    rows = list(rows or ())
    columns = set(rows[0][1]) if rows else set()
    if {"vid_name", "ts"} <= columns:
        return _collected(path, "TVR", rows, problems)
    if {"vid", "relevant_windows"} <= columns:
        return _collected(path, "QVHighlights", rows, problems)
    named = first_of(columns, _VIDEO) or first_of(columns, _CAPTION_ID)
    if named and first_of(columns, _START) and first_of(columns, _END):
        return _collected(path, "table", rows, problems)
    if rows:
        hint = "; it is for --relevance" if "gt_video_ids" in columns else ""
        found = f"it has {', '.join(rows[0][1])}{hint}"
        problems.add(_UNKNOWN, f"{path}: {found}; --moments reads {_KINDS}")
    elif not problems:
        problems.add(_UNKNOWN, f"{path}: holds no records; --moments reads {_KINDS}")
    return None


def _activitynet(path: Path, values: Mapping[str, Any], problems: Problems) -> MomentFile:
    rows = [
        (f"{path.name}: {video!r}", {"video": video, **known}) for video, known in values.items()
    ]
    return _collected(path, "ActivityNet", rows, problems)


def _activitynet_records(place: str, row: Mapping[str, Any]) -> Iterator[MomentRecord]:
    spans = row["timestamps"] if "timestamps" in row else row["moments"]
    texts = row.get("sentences") or [""] * len(spans)
    for number, (text, span) in enumerate(zip(texts, spans, strict=True)):
        yield MomentRecord(place, row["video"], (_span(*span),), text=str(text), number=number)


def _tvr_records(place: str, row: Mapping[str, Any]) -> Iterator[MomentRecord]:
    yield MomentRecord(place, str(row["vid_name"]), (_span(*row["ts"]),), text=str(row["desc"]))


def _qvhighlights_records(place: str, row: Mapping[str, Any]) -> Iterator[MomentRecord]:
    spans = tuple(_span(*span) for span in row["relevant_windows"])
    yield MomentRecord(place, str(row["vid"]), spans, text=str(row["query"]))


def _charades_records(place: str, row: Mapping[str, Any]) -> Iterator[MomentRecord]:
    head, _, text = row["line"].partition("##")
    video, start, end = head.split()
    yield MomentRecord(place, video, (_span(start, end),), text=text)


def _table_records(place: str, row: Mapping[str, Any]) -> Iterator[MomentRecord]:
    video, caption_id, text = (
        str(row[name] if (name := first_of(row, names)) and row[name] is not None else "")
        for names in (_VIDEO, _CAPTION_ID, _TEXT)
    )
    if not caption_id and not (video and text):
        raise ValueError("it names neither a caption_id nor a video and a caption")
    span = _span(*(row[first_of(row, names)] for names in (_START, _END)))
    yield MomentRecord(place, video or caption_id.partition("#")[0], (span,), caption_id, text)


def _span(start: float | str, end: float | str) -> tuple[float, float]:
    span = float(start), float(end)
    if not all(map(math.isfinite, span)):
        raise ValueError(f"it lasts from {start} to {end}")
    return span


def _lines(text: str) -> list[Row]:
    numbered = enumerate(text.split("\n"), start=1)
    return [(str(number), {"line": line.strip()}) for number, line in numbered if line.strip()]


_RECORDS: Mapping[str, Callable[[str, Mapping[str, Any]], Iterator[MomentRecord]]] = {
    "ActivityNet": _activitynet_records,
    "TVR": _tvr_records,
    "QVHighlights": _qvhighlights_records,
    "Charades-STA": _charades_records,
    "table": _table_records,
}


def _collected(path: Path, kind: str, rows: Iterable[Row], problems: Problems) -> MomentFile:
    """All records and durations of a file; rows that cannot be read become problems."""
    found: list[MomentRecord] = []
    durations: dict[str, float] = {}
    for place, row in rows:
        where = place if place.startswith(path.name) else f"{path.name}:{place}"
        try:
            made = list(_RECORDS[kind](where, row))
            duration = first_of(row, _DURATION)
            if duration and row[duration] not in (None, "") and made:
                durations.setdefault(made[0].video_id, _duration(row[duration]))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            problems.add(_MALFORMED, f"{where}, read as {kind}: {reason}")
            continue
        found += made
    return MomentFile(path, kind, tuple(found), durations)


def _duration(value: float | str) -> float:
    duration = float(value)
    if not 0 < duration < math.inf:
        raise ValueError(f"its video lasts {value} s")
    return duration


def read_durations(path: Path, problems: Problems) -> dict[str, float]:
    """Lengths of videos from a CSV file with their ids and `length` or `duration`, e.g. Charades'.

    Other columns may hold anything.
    """
    text = read_text(path, problems)
    rows = csv.DictReader(io.StringIO(text or "", newline=""))
    columns = rows.fieldnames or ()
    video, length = first_of(columns, (*_VIDEO, "id")), first_of(columns, _LENGTH)
    if not video or not length:
        if text is not None:
            named = ", ".join(columns)
            problems.add(_UNKNOWN, f"{path}: has columns {named}; wanted are id and length")
        return {}
    found = {}
    for row in rows:
        try:
            found[row[video]] = _duration(row[length])
        except (ValueError, TypeError):
            place = f"{path.name}:{rows.line_num}"
            problems.add("malformed duration", f"{place}: {row[video]!r} lasts {row[length]!r}")
    return found


def durations_beside(path: Path) -> list[Path]:
    """CSV files in a moment file's folder whose header names ids and lengths of videos."""
    return [beside for beside in sorted(path.parent.glob("*.csv")) if _has_durations(beside)]


def _has_durations(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            columns = next(csv.reader(file), [])
    except OSError:
        return False
    return {"id", "length"} <= set(columns)
