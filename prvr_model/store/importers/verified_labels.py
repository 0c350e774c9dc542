"""Finds the verified labels of each caption: all videos that are right for it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from prvr_model.store.importers.annotation_files import read_annotations
from prvr_model.store.importers.annotation_forms import CaptionRecord
from prvr_model.store.importers.annotation_names import (
    PREFIX,
    VideoNames,
    letters,
    tell,
)
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.problems import Problems


def find_relevant(
    paths: Sequence[Path],
    splits: Mapping[str, Sequence[CaptionLine]],
    problems: Problems,
    notes: list[str],
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Verified videos of each caption that has labels, within the caption's split."""
    read = (read_annotations(path, "--relevance", problems) for path in paths)
    records = [record for made in read if made for record in made.records]
    if not records:
        return {}
    labels, named = _Labels(records), ", ".join(map(str, paths))
    found, elsewhere = {}, []
    for split, lines in splits.items():
        names = VideoNames(line.video_id for line in lines)
        for line, record in labels.each(lines):
            own = [names.of(video) for video in record.relevant]
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


def _unfit(records: Sequence[CaptionRecord], elsewhere: Sequence[str]) -> str:
    """Why no label could be used."""
    if elsewhere:
        return f"no video that it names is in the caption's split, e.g. for {elsewhere[0]}"
    return f"no caption of the corpus is in it, it begins with {records[0].caption_id!r}"


class _Labels:
    """Labels by caption id; failing that by text within the video."""

    def __init__(self, records: Iterable[CaptionRecord]) -> None:
        self._records = list(records)
        self._by_id = {_plain(record.caption_id): record for record in self._records}
        self._by_text = {
            (record.video_id.removeprefix(PREFIX), letters(record.text)): record
            for record in self._records
            if record.text
        }
        self._used: set[CaptionRecord] = set()

    def each(self, lines: Iterable[CaptionLine]) -> Iterator[tuple[CaptionLine, CaptionRecord]]:
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
