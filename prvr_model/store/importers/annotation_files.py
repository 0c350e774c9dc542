"""Reads the files in which users have captions, moments, verified labels and lengths of videos."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from prvr_model.errors import did_you_mean
from prvr_model.store.importers.annotation_forms import (
    END,
    LABELS,
    START,
    TABLE,
    TEXT,
    VIDEO,
    CaptionRecord,
    by_video,
    described,
    form_of,
    records_of,
    with_ids,
)
from prvr_model.store.importers.annotation_rows import (
    MALFORMED,
    UNKNOWN,
    Row,
    first_of,
    read_rows,
    read_text,
)
from prvr_model.store.importers.caption_files import each_once
from prvr_model.store.importers.problems import Problems

Use: TypeAlias = Literal["--captions", "--moments", "--relevance"]
"""What a file is for, by the option that names it."""

_DURATION = ("duration", "duration_s")
# What a file of lengths alone may call them.
_LENGTH = (*_DURATION, "length", "length_s")
_PUBLISHED = "TVR and QVHighlights JSON lines, ActivityNet JSON, Charades-STA text"
_READS: Mapping[Use, str] = {
    "--captions": f"{_PUBLISHED}, or a table (CSV, JSON lines, Parquet) with video and caption",
    "--moments": (
        f"{_PUBLISHED}, or a table (CSV, JSON lines, Parquet) with video or caption_id, caption, "
        "start and end"
    ),
    "--relevance": "JSON lines with query_id (a caption's id), caption and gt_video_ids (a list)",
}


@dataclass(frozen=True)
class AnnotationContent:
    """Content of one file.

    Args:
        path: The file.
        form: What it was recognised as, see `annotation_forms`.
        records: Its captions in order.
        durations_s: Length of each video that it names one for.
    """

    path: Path
    form: str
    records: tuple[CaptionRecord, ...]
    durations_s: Mapping[str, float]

    @property
    def is_table(self) -> bool:
        """Whether it is a table that its user made."""
        return self.form == TABLE


def all_captions(path: Path) -> AnnotationContent:
    """Captions of a file as `read_captions` reads it, all of them with ids of their own.

    Raises:
        CorpusError: All rows that cannot be used, and what contradicts itself.
    """
    problems = Problems()
    read = read_captions(path, problems)
    records = tuple(each_once(with_ids(read.records if read else (), "#"), problems))
    _check_splits(records, problems)
    if problems or read is None:
        raise problems.error(f"take the captions of {path}")
    return replace(read, records=records)


def _check_splits(records: Iterable[CaptionRecord], problems: Problems) -> None:
    """Make videos of several splits problems."""
    first: dict[str, CaptionRecord] = {}
    for record in records:
        owner = first.setdefault(record.video_id, record)
        if owner.split != record.split:
            places = f"{owner.split} at {owner.place}, {record.split} at {record.place}"
            problems.add("video in several splits", f"{record.video_id!r}: {places}")


def read_captions(path: Path, problems: Problems) -> AnnotationContent | None:
    """Captions of a table or of an annotation file; what is wrong becomes problems.

    Args:
        path: A table with `video` and `caption`; optional `start` and `end` (seconds of the moment
            that the caption describes), `type` (of the query), `split` (train, val or test),
            `relevant` (every video that shows what it says: a list, in CSV as JSON) and `id` (of
            the caption); or a file of another form.
        problems: Takes rows that cannot be used.

    Returns:
        None if the file cannot be read or is of no known form.
    """
    made = read_annotations(path, "--captions", problems)
    if made is None:
        return None
    for record in made.records:
        if not (record.video_id and record.text):
            problems.add(
                MALFORMED, f"{record.place} has no {'caption' if record.video_id else 'video'}"
            )
    without = [record.place for record in made.records if record.split is None]
    if 0 < len(without) < len(made.records):
        problems.add(MALFORMED, f"{without[0]}: no split, though other rows have one")
    return made


def read_annotations(path: Path, use: Use, problems: Problems) -> AnnotationContent | None:
    """Records of a file that fits its use; what is wrong becomes problems.

    Returns:
        None if the file cannot be read or does not fit.
    """
    rows = by_video(read_rows(path, problems))
    if not rows:
        return None
    columns = rows[0][1].keys()
    form = form_of(columns)
    if form is None or not _fits(form, columns, use):
        hint = "; it is for --relevance" if form == LABELS else ""
        near = _near(columns) if use == "--captions" else ""
        found = f"it has {', '.join(columns)}{near}{hint}"
        problems.add(UNKNOWN, f"{path}: {found}; {use} reads {_READS[use]}")
        return None
    return _collected(path, form, rows, use, problems)


def _fits(form: str, columns: Set[str], use: Use) -> bool:
    if use == "--relevance" or form == LABELS:
        return form == LABELS and use != "--moments"
    needed = (START, END) if use == "--moments" else (VIDEO, TEXT)
    return form != TABLE or all(first_of(columns, names) for names in needed)


def _near(columns: Set[str]) -> str:
    """The names that columns of captions may have been meant by."""
    missing = [names[0] for names in (VIDEO, TEXT) if not first_of(columns, names)]
    return "".join(did_you_mean(name, columns) for name in missing)


def _collected(
    path: Path, form: str, rows: Iterable[Row], use: Use, problems: Problems
) -> AnnotationContent:
    """All records and durations of a file; rows that cannot be read become problems."""
    found: list[CaptionRecord] = []
    durations: dict[str, float] = {}
    for place, row in rows:
        try:
            made = records_of(form, place, row)
            if form == TABLE and use == "--captions":
                made = [described(record, row) for record in made]
            duration = first_of(row, _DURATION)
            if duration and row[duration] not in (None, "") and made:
                durations.setdefault(made[0].video_id, _duration(row[duration]))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            problems.add(MALFORMED, f"{place}, read as {form}: {reason}")
            continue
        found += made
    return AnnotationContent(path, form, tuple(found), durations)


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
    video, length = first_of(columns, (*VIDEO, "id")), first_of(columns, _LENGTH)
    if not video or not length:
        if text is not None:
            named = ", ".join(columns)
            problems.add(UNKNOWN, f"{path}: has columns {named}; wanted are id and length")
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
