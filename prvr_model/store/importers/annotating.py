"""What annotation files say of the captions and videos of a corpus: moments, lengths, labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prvr_model.store.annotations import NOTHING_KNOWN, CaptionAnnotation
from prvr_model.store.importers.annotation_files import (
    AnnotationContent,
    durations_beside,
    read_annotations,
    read_durations,
)
from prvr_model.store.importers.annotation_names import VideoNames, tell
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.caption_moments import find_moments
from prvr_model.store.importers.problems import Problems
from prvr_model.store.importers.verified_labels import find_relevant
from prvr_model.store.importers.video_pieces import joined_pieces


@dataclass(frozen=True)
class AnnotationFiles:
    """Files that say more of a corpus than its layout.

    Args:
        moments: Files of moments, see `annotation_forms`.
        durations: CSV file of videos' lengths, for moment files that have none.
        relevance: Files of verified labels, see `annotation_forms`.
    """

    moments: Sequence[Path] = ()
    durations: Path | None = None
    relevance: Sequence[Path] = ()


NO_FILES = AnnotationFiles()


@dataclass(frozen=True)
class Annotations:
    """What is known of the captions and videos of a corpus.

    Args:
        durations_s: Length by video id of the corpus.
        captions: By split and caption id.
        source: What the manifest says of the files; empty without any.
    """

    durations_s: Mapping[str, float] = field(default_factory=dict)
    captions: Mapping[tuple[str, str], CaptionAnnotation] = field(default_factory=dict)
    source: Mapping[str, object] = field(default_factory=dict)

    def duration_s(self, video_id: str) -> float:
        """A video's length; NaN where it is not known."""
        return self.durations_s.get(video_id, math.nan)

    def of(self, split: str, caption_id: str) -> CaptionAnnotation:
        """What is known of a caption."""
        return self.captions.get((split, caption_id), NOTHING_KNOWN)


def annotate(
    files: AnnotationFiles,
    splits: Mapping[str, Sequence[CaptionLine]],
    problems: Problems,
    notes: list[str],
) -> Annotations:
    """Read annotation files and find what they say of each caption.

    Args:
        files: The files.
        splits: All captions of the corpus.
        problems: Takes files that cannot be read and files that belong to another data set.
        notes: Takes what was recognised, and each mismatch with its count and first names.
    """
    if not (files.moments or files.durations or files.relevance):
        return Annotations()
    videos = dict.fromkeys(line.video_id for lines in splits.values() for line in lines)
    read = [
        made for path in files.moments if (made := read_annotations(path, "--moments", problems))
    ]
    durations = _durations(files, read, VideoNames(videos), problems, notes)
    moments = find_moments(read, splits, durations, problems, notes)
    relevant = find_relevant(files.relevance, splits, problems, notes)
    captions = {
        place: replace(moments.get(place, NOTHING_KNOWN), relevant=relevant.get(place, ()))
        for place in {**moments, **relevant}
    }
    return Annotations(durations, captions, _source(files, read))


def _source(files: AnnotationFiles, read: Sequence[AnnotationContent]) -> dict[str, object]:
    return {
        "annotations": {
            "moments": [{"file": made.path.name, "kind": made.form} for made in read],
            "durations": files.durations.name if files.durations else None,
            "relevance": [path.name for path in files.relevance],
        }
    }


def _durations(
    files: AnnotationFiles,
    read: Sequence[AnnotationContent],
    names: VideoNames,
    problems: Problems,
    notes: list[str],
) -> dict[str, float]:
    """Lengths of the corpus's videos; those that moment files say come first."""
    sources = [joined_pieces(made, names).durations_s for made in read]
    tables = [files.durations] if files.durations else []
    if not tables and any(made.records and not made.durations_s for made in read):
        tables = [path for made in read for path in durations_beside(made.path)]
        notes += [f"lengths of videos are taken from {path}, beside the moments" for path in tables]
        if not tables:
            notes.append("lengths of videos are not known: --durations names a CSV file with them")
    sources += [read_durations(path, problems) for path in dict.fromkeys(tables)]
    found: dict[str, float] = {}
    differ: list[str] = []
    for name, duration in (item for source in sources for item in source.items()):
        if (own := names.of(name)) is None:
            continue
        if abs(found.setdefault(own, duration) - duration) > 1:
            differ.append(f"{own!r} ({found[own]:g} s and {duration:g} s)")
    tell("videos whose two lengths differ, of which the first was taken", differ, notes)
    return found
