"""Finds the moments of each caption among the records of moment files.

How a caption finds its moments, the first that fits:

1. by its id, where the file has caption ids;
2. by its text within its video, letters and digits alone and in small letters; where a video has
   several captions of one text and the file as many records of it, in order; where the numbers
   differ, each caption has the moments of all of them;
3. by its place among its video's captions, where the file has no texts and as many moments as the
   video has captions.

A video is found by its id, with or without `v_` before it; see also `video_pieces`.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.importers.annotation_files import AnnotationContent
from prvr_model.store.importers.annotation_forms import CaptionRecord, ClippedMoments
from prvr_model.store.importers.annotation_names import VideoNames, first_names, letters, tell
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.problems import Problems
from prvr_model.store.importers.video_pieces import joined_pieces

_Key = TypeVar("_Key", bound=Hashable)


def find_moments(
    read: Sequence[AnnotationContent],
    splits: Mapping[str, Sequence[CaptionLine]],
    durations: Mapping[str, float],
    problems: Problems,
    notes: list[str],
) -> dict[tuple[str, str], CaptionAnnotation]:
    """Moments, and the type, of each caption that has moments; mismatches are noted."""
    if not read:
        return {}
    names = VideoNames(line.video_id for lines in splits.values() for line in lines)
    records = [record for made in read for record in joined_pieces(made, names).records]
    finder = _Finder(records, names)
    clipped = ClippedMoments(durations)
    found, without = {}, []
    for split, lines in splits.items():
        for line, own in finder.each(lines):
            if kept := clipped.spans(line, _spans(own)):
                kind = next((record.query_type for record in own if record.query_type), "")
                found[split, line.caption_id] = CaptionAnnotation(kept, query_type=kind)
            else:
                without.append(repr(line.caption_id))
    _tell_recognised(read, notes)
    notes.append(f"{len(found)} of {len(found) + len(without)} captions have moments")
    if not found:
        problems.add("moments of another data set", _of_another_set(read, finder))
    tell("captions without a moment", without, notes)
    tell("videos of the moment files that are not in the corpus", finder.unknown, notes)
    clipped.tell(notes)
    return found


def _tell_recognised(read: Sequence[AnnotationContent], notes: list[str]) -> None:
    for made in read:
        notes.append(
            f"{made.path} holds moments in the form of {made.form}: {len(made.records)} records, "
            f"lengths of {len(made.durations_s)} videos"
        )


def _of_another_set(read: Sequence[AnnotationContent], finder: "_Finder") -> str:
    files = ", ".join(str(made.path) for made in read)
    named = first_names(finder.unknown) or "the videos, but other captions"
    return f"{files}: no caption of the corpus is in it; it names {named}"


class _Finder:
    """Records by caption id, by video and text, and by video alone."""

    def __init__(self, records: Iterable[CaptionRecord], names: VideoNames) -> None:
        self._by_id: defaultdict[str, list[CaptionRecord]] = defaultdict(list)
        self._by_text: defaultdict[tuple[str, str], list[CaptionRecord]] = defaultdict(list)
        self._in_order: defaultdict[str, list[CaptionRecord]] = defaultdict(list)
        unknown: dict[str, None] = {}
        for record in records:
            if record.caption_id:
                self._by_id[record.caption_id].append(record)
            own = names.of(record.video_id)
            if own is None:
                unknown[repr(record.video_id)] = None
            elif record.text:
                self._by_text[own, letters(record.text)].append(record)
            elif not record.caption_id:
                self._in_order[own].append(record)
        self.unknown = list(unknown)

    def each(
        self, lines: Iterable[CaptionLine]
    ) -> Iterable[tuple[CaptionLine, Sequence[CaptionRecord]]]:
        """Each caption and its records; none where no record is its."""
        lines = list(lines)
        texts = _grouped(lines, lambda line: (line.video_id, letters(line.text)))
        videos = _grouped(lines, lambda line: line.video_id)
        for line in lines:
            if records := self._by_id.get(line.caption_id):
                yield line, records
                continue
            key = line.video_id, letters(line.text)
            if records := self._by_text.get(key):
                yield line, _own_of(records, texts[key], line) or records
                continue
            records = self._in_order.get(line.video_id, [])
            yield line, _own_of(records, videos[line.video_id], line)


def _grouped(
    lines: Iterable[CaptionLine], key: Callable[[CaptionLine], _Key]
) -> dict[_Key, list[str]]:
    """Ids of captions by a key, in order."""
    groups: defaultdict[_Key, list[str]] = defaultdict(list)
    for line in lines:
        groups[key(line)].append(line.caption_id)
    return groups


def _own_of(
    records: Sequence[CaptionRecord], captions: Sequence[str], line: CaptionLine
) -> Sequence[CaptionRecord]:
    """The record at a caption's place among its like; none where their numbers differ."""
    if len(records) != len(captions):
        return ()
    return (records[captions.index(line.caption_id)],)


def _spans(records: Iterable[CaptionRecord]) -> list[tuple[float, float]]:
    return list(dict.fromkeys(span for record in records for span in record.moments))
