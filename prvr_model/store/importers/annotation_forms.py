"""What rows of each form of annotation file say of captions; columns tell the form.

| form | content |
|---|---|
| TVR | JSON lines: vid_name, desc, ts [start, end], duration, perhaps type |
| QVHighlights | JSON lines: vid, query, relevant_windows, duration |
| ActivityNet | one JSON object: video -> duration, timestamps (or moments), perhaps sentences |
| Charades-STA | lines `<video> <start> <end>##<sentence>`; a CSV file has id and length |
| verified labels | JSON lines: query_id (a caption's id), caption, gt_video_ids |
| table | CSV, JSON lines or Parquet, a caption a row: see `_table_records` |

Source of the verified labels: METHOD, yardsticks of 2026.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.annotation_names import tell
from prvr_model.store.importers.annotation_rows import CHARADES_LINE, Row, first_of
from prvr_model.store.importers.caption_files import CaptionLine

# Timestamps are rounded: a moment that ends so much after its video's end ends with it.
_ROUNDING_S = 0.1
# Names of types are short; what is longer is a text about something else.
_LONGEST_TYPE = 40
TABLE, LABELS = "table", "verified labels"

VIDEO = ("video", "video_id", "vid", "vid_name")
CAPTION_ID = ("caption_id", "query_id", "id")
TEXT = ("caption", "text", "sentence", "query", "desc")
TYPE = ("query_type", "type")
START, END = ("start", "start_s", "start_time"), ("end", "end_s", "end_time")
"""What tables may call their columns."""


@dataclass(frozen=True, slots=True)
class CaptionRecord(CaptionLine):
    """What a file says of one caption, which is all that is known of it or an addition.

    Its id or its text is empty where the file has none. A table of moments says it in several
    records where a caption has several.

    Args:
        moments: Start and end in seconds of each span of its video that shows what it says.
        number: Place among the records of its video; captions without text are found by it.
        split: train, val or test; None if the file does not say.
        relevant: Ids of all videos that are verified to show it; empty if nobody verified.
        query_type: See `CaptionAnnotation`.
    """

    moments: tuple[tuple[float, float], ...] = ()
    number: int = 0
    split: str | None = None
    relevant: tuple[str, ...] = ()
    query_type: str = ""

    @property
    def annotation(self) -> CaptionAnnotation:
        """What a store keeps of it besides its text."""
        return CaptionAnnotation(self.moments, self.relevant, self.query_type)


def with_ids(records: Iterable[CaptionRecord], mark: str) -> Iterator[CaptionRecord]:
    """The records; those without id get `<video><mark><k>`, k counted from 0 in each video."""
    numbers: Counter[str] = Counter()
    for record in records:
        own = record.caption_id or f"{record.video_id}{mark}{numbers[record.video_id]}"
        numbers[record.video_id] += 1
        yield replace(record, caption_id=own)


class ClippedMoments:
    """Cuts moments at the ends of their videos and remembers what did not fit."""

    def __init__(self, durations: Mapping[str, float]) -> None:
        self._durations = durations
        self._past: list[str] = []
        self._empty: list[str] = []

    def spans(
        self, line: CaptionLine, spans: Iterable[tuple[float, float]]
    ) -> tuple[tuple[float, float], ...]:
        """The moments within the video."""
        end_of_video = self._durations.get(line.video_id, math.inf)
        kept = []
        for start, end in spans:
            if end > end_of_video + _ROUNDING_S:
                self._past.append(f"{line.caption_id!r} (to {end:g} s of {end_of_video:g} s)")
            start, end = max(start, 0.0), min(end, end_of_video)
            if start < end:
                kept.append((start, end))
            else:
                self._empty.append(repr(line.caption_id))
        return tuple(kept)

    def tell(self, notes: list[str]) -> None:
        """Note what was cut and dropped."""
        tell("moments that end past their video and were cut there", self._past, notes)
        tell("moments that are empty within their video and were dropped", self._empty, notes)


def by_video(rows: Sequence[Row]) -> list[Row]:
    """ActivityNet's one object as a row for each video; other rows as they are."""
    if len(rows) != 1 or not _is_by_video(rows[0][1]):
        return list(rows)
    file = rows[0][0].rpartition(",")[0]
    return [(f"{file}: {name!r}", {**known, "video": name}) for name, known in rows[0][1].items()]


def _is_by_video(values: Mapping[str, Any]) -> bool:
    return bool(values) and all(
        isinstance(known, dict) and ("timestamps" in known or "moments" in known)
        for known in values.values()
    )


def form_of(columns: Set[str]) -> str | None:
    """Name of the form that has these columns; None: no form has."""
    for form, needed in _COLUMNS:
        if needed <= columns:
            return form
    return TABLE if first_of(columns, VIDEO) or first_of(columns, CAPTION_ID) else None


def records_of(form: str, place: str, row: Mapping[str, Any]) -> list[CaptionRecord]:
    """Captions of a row.

    Raises:
        ValueError, TypeError, KeyError: The row is malformed.
    """
    return list(_RECORDS[form](place, row))


def described(record: CaptionRecord, row: Mapping[str, Any]) -> CaptionRecord:
    """A record with the split and the verified videos that a row of a table of captions names.

    Raises:
        ValueError: It names no video, or they are no split and no list of videos.
    """
    if not _text(row, VIDEO):
        raise ValueError("it has no video")
    split, relevant = row.get("split"), row.get("relevant")
    if split is not None and split not in SPLIT_NAMES:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(SPLIT_NAMES)}")
    return replace(record, split=split, relevant=_names(relevant) if relevant is not None else ())


def _names(found: object) -> tuple[str, ...]:
    names = found
    if isinstance(found, str):
        try:
            names = json.loads(found)
        except ValueError:
            names = None
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise ValueError(f"relevant is {found!r}; allowed: a list of videos, in CSV as JSON")
    return tuple(map(str, names))


def _tvr_records(place: str, row: Mapping[str, Any]) -> Iterator[CaptionRecord]:
    made = _record(place, row["vid_name"], row["desc"], (_span(*row["ts"]),))
    yield replace(made, query_type=_query_type(row))


def _qvhighlights_records(place: str, row: Mapping[str, Any]) -> Iterator[CaptionRecord]:
    spans = tuple(_span(*span) for span in row["relevant_windows"])
    yield _record(place, row["vid"], row["query"], spans)


def _activitynet_records(place: str, row: Mapping[str, Any]) -> Iterator[CaptionRecord]:
    spans = row["timestamps"] if "timestamps" in row else row["moments"]
    texts = row.get("sentences") or [""] * len(spans)
    for number, (text, span) in enumerate(zip(texts, spans, strict=True)):
        yield replace(_record(place, row["video"], text, (_span(*span),)), number=number)


def _charades_records(place: str, row: Mapping[str, Any]) -> Iterator[CaptionRecord]:
    head, _, text = row[CHARADES_LINE].partition("##")
    video, start, end = head.split()
    yield _record(place, video, text, (_span(start, end),))


def _label_records(place: str, row: Mapping[str, Any]) -> Iterator[CaptionRecord]:
    caption_id, videos = row["query_id"], row["gt_video_ids"]
    if not isinstance(caption_id, str) or not isinstance(videos, list):
        raise TypeError("wanted are query_id (a caption's id) and gt_video_ids (a list)")
    video, text = caption_id.partition("#")[0], str(row.get("caption") or "")
    yield CaptionRecord(caption_id, video, text, place, relevant=tuple(map(str, videos)))


def _table_records(place: str, row: Mapping[str, Any]) -> Iterator[CaptionRecord]:
    """The caption of a row with `video` or `caption_id`, `caption`, perhaps a moment and a type.

    The moment is `start` and `end`.
    """
    video, caption_id, text = (_text(row, names) for names in (VIDEO, CAPTION_ID, TEXT))
    if not caption_id and not (video and text):
        raise ValueError("it names neither a caption_id nor a video and a caption")
    own = video or caption_id.partition("#")[0]
    moments, kind = _table_moments(row), _query_type(row)
    yield CaptionRecord(caption_id, own, text, place, moments, query_type=kind)


def _text(row: Mapping[str, Any], names: Iterable[str]) -> str:
    name = first_of(row, names)
    found = row[name] if name else None
    if found is not None and (not isinstance(found, str | int) or "\0" in str(found)):
        raise ValueError(f"{name} is {found!r}; allowed: text")
    return "" if found is None else str(found).strip()


def _query_type(row: Mapping[str, Any]) -> str:
    """The type of a row's caption; empty where the column holds something else."""
    found = row.get(first_of(row, TYPE))
    named = str(found).strip() if isinstance(found, str | int) else ""
    return named if len(named) <= _LONGEST_TYPE and "\0" not in named else ""


def _table_moments(row: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    start, end = (row.get(first_of(row, names)) for names in (START, END))
    if start is None and end is None:
        return ()
    try:
        moment = float(start), float(end)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        moment = math.nan, math.nan
    if not 0 <= moment[0] < moment[1] < math.inf:
        raise ValueError(
            f"start is {start!r}, end is {end!r}; allowed: seconds, 0 <= start < end, or neither"
        )
    return (moment,)


def _record(
    place: str, video: object, text: object, moments: tuple[tuple[float, float], ...]
) -> CaptionRecord:
    return CaptionRecord("", str(video), str(text).strip(), place, moments)


def _span(start: float | str, end: float | str) -> tuple[float, float]:
    """A moment of a published file, which may not fit its video."""
    span = float(start), float(end)
    if not all(map(math.isfinite, span)):
        raise ValueError(f"it lasts from {start} to {end}")
    return span


_COLUMNS = (
    ("TVR", {"vid_name", "ts"}),
    ("QVHighlights", {"vid", "relevant_windows"}),
    ("ActivityNet", {"video", "timestamps"}),
    ("ActivityNet", {"video", "moments"}),
    ("Charades-STA", {CHARADES_LINE}),
    (LABELS, {"query_id", "gt_video_ids"}),
)
_RECORDS: Mapping[str, Callable[[str, Mapping[str, Any]], Iterator[CaptionRecord]]] = {
    "TVR": _tvr_records,
    "QVHighlights": _qvhighlights_records,
    "ActivityNet": _activitynet_records,
    "Charades-STA": _charades_records,
    LABELS: _label_records,
    TABLE: _table_records,
}
