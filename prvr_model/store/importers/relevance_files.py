"""Reads verified labels: all videos that are right for a query.

JSON lines (or a JSON list) of `query_id` (the caption's id), `caption` and `gt_video_ids`. Source:
METHOD, yardsticks of 2026.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prvr_model.store.importers.annotation_names import (
    PREFIX,
    VideoNames,
    letters,
    tell,
)
from prvr_model.store.importers.annotation_rows import json_values, read_text
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.problems import Problems


@dataclass(frozen=True, slots=True)
class RelevanceRecord:
    """Videos that are right for a caption.

    Args:
        place: File and line.
        caption_id: The caption's id.
        text: The caption; empty if the file has none.
        videos: Ids of the videos.
    """

    place: str
    caption_id: str
    text: str
    videos: tuple[str, ...]

    @property
    def video_id(self) -> str:
        """The caption's own video."""
        return self.caption_id.partition("#")[0]


def read_relevance_file(path: Path, problems: Problems) -> list[RelevanceRecord]:
    """Records of a file in its order; what is wrong becomes problems."""
    text = read_text(path, problems)
    rows = json_values(path, text, problems) if text is not None else None
    if rows is None and text is not None and not problems:
        problems.add("unknown annotation file", f"{path}: holds no JSON lines")
    found = []
    for place, row in rows or ():
        videos = row.get("gt_video_ids")
        if isinstance(row.get("query_id"), str) and isinstance(videos, list):
            names = tuple(map(str, videos))
            record = RelevanceRecord(
                f"{path.name}:{place}", row["query_id"], str(row.get("caption") or ""), names
            )
            found.append(record)
        else:
            named = ", ".join(row) or "nothing"
            problems.add(
                "malformed label",
                f"{path.name}:{place} has {named}; wanted are query_id (a caption's id), caption "
                "and gt_video_ids (a list)",
            )
    return found


def find_relevant(
    paths: Sequence[Path],
    splits: Mapping[str, Sequence[CaptionLine]],
    problems: Problems,
    notes: list[str],
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Verified videos of each caption that has labels, within the caption's split."""
    records = [record for path in paths for record in read_relevance_file(path, problems)]
    if not records:
        return {}
    labels, named = _Labels(records), ", ".join(map(str, paths))
    found, elsewhere = {}, []
    for split, lines in splits.items():
        names = VideoNames(line.video_id for line in lines)
        for line, record in labels.each(lines):
            own = [names.of(video) for video in record.videos]
            if kept := tuple(dict.fromkeys(video for video in own if video)):
                found[split, line.caption_id] = kept
            if None in own or not own:
                elsewhere.append(repr(line.caption_id))
    if not found:
        problems.add("labels of another data set", f"{named}: {_unfit(records, elsewhere)}")
    several = sum(len(videos) > 1 for videos in found.values())
    notes.append(
        f"{len(found)} of {sum(map(len, splits.values()))} captions have verified videos, "
        f"{several} more than one ({named}); evaluation.relevance: verified uses them"
    )
    tell("labels of no caption of the corpus", labels.unused(), notes)
    tell("captions with verified videos that are not in their split", elsewhere, notes)
    return found


def _unfit(records: Sequence[RelevanceRecord], elsewhere: Sequence[str]) -> str:
    """Why no label could be used."""
    if elsewhere:
        return f"no video that it names is in the caption's split, e.g. for {elsewhere[0]}"
    return f"no caption of the corpus is in it, it begins with {records[0].caption_id!r}"


class _Labels:
    """Labels by caption id; failing that by text within the video."""

    def __init__(self, records: Iterable[RelevanceRecord]) -> None:
        self._records = list(records)
        self._by_id = {_plain(record.caption_id): record for record in self._records}
        self._by_text = {
            (record.video_id.removeprefix(PREFIX), letters(record.text)): record
            for record in self._records
            if record.text
        }
        self._used: set[RelevanceRecord] = set()

    def each(self, lines: Iterable[CaptionLine]) -> Iterator[tuple[CaptionLine, RelevanceRecord]]:
        """Captions that have a label, and it."""
        for line in lines:
            record = self._by_id.get(_plain(line.caption_id)) or self._by_text.get(
                (line.video_id.removeprefix(PREFIX), letters(line.text))
            )
            if record:
                self._used.add(record)
                yield line, record

    def unused(self) -> list[str]:
        """Caption ids of labels that nobody asked for."""
        return [repr(record.caption_id) for record in self._records if record not in self._used]


def _plain(caption_id: str) -> str:
    """`v_x#enc#0` and `x#0` name the same caption."""
    return caption_id.removeprefix(PREFIX).replace("#enc#", "#")
