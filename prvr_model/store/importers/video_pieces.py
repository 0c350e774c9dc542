"""Puts pieces of YouTube videos together, as corpora do whose unit is the whole video.

A piece is `<YouTube id>_<start>_<end>`, as in QVHighlights. The pieces of a video that a file names
follow each other in the order of their starts, so the moments of a piece move by the lengths of
those before it.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from prvr_model.store.importers.annotation_files import AnnotationContent
from prvr_model.store.importers.annotation_forms import CaptionRecord
from prvr_model.store.importers.annotation_names import VideoNames

_PIECE = re.compile(r"(.+)_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)$")


def joined_pieces(made: AnnotationContent, names: VideoNames) -> AnnotationContent:
    """A file with the pieces of YouTube videos that the corpus has whole put together."""
    pieces: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for record in made.records:
        match = _PIECE.match(record.video_id)
        if match and names.of(record.video_id) is None and names.of(match[1]):
            pieces[match[1]][record.video_id] = float(match[2])
    if not pieces:
        return made
    offsets, durations = _offsets(pieces, made.durations_s)
    records = tuple(
        _moved(record, *offsets[record.video_id]) if record.video_id in offsets else record
        for record in made.records
    )
    return replace(made, records=records, durations_s=durations)


def _offsets(
    pieces: Mapping[str, Mapping[str, float]], lengths: Mapping[str, float]
) -> tuple[dict[str, tuple[str, float]], dict[str, float]]:
    """Each piece's video and where it begins in it; lengths with the videos' in their place."""
    offsets, durations = {}, dict(lengths)
    for video, starts in pieces.items():
        at = 0.0
        for piece in sorted(starts, key=lambda name: starts[name]):
            offsets[piece] = (video, at)
            at += durations.pop(piece, math.nan)
        if math.isfinite(at):
            durations[video] = at
    return offsets, durations


def _moved(record: CaptionRecord, video: str, offset: float) -> CaptionRecord:
    moments = record.moments if math.isfinite(offset) else ()
    moved = tuple((start + offset, end + offset) for start, end in moments)
    return replace(record, video_id=video, moments=moved)
