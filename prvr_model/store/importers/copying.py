"""Checks the features of a corpus, and writes it as a store.

Headers of all features are checked first, then every item is read once: it goes to the store
while all is well, and is only checked after the first problem, so that the error lists everything.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from prvr_model.errors import DataError, StoreError
from prvr_model.store.annotations import NOTHING_KNOWN
from prvr_model.store.arrow_file import stored_rows
from prvr_model.store.format import Kind, zero_row_warnings
from prvr_model.store.importers.corpus import (
    Corpus,
    ImportChoices,
    ImportReport,
    Item,
    Progress,
    Reading,
)
from prvr_model.store.importers.features import FeatureSource
from prvr_model.store.importers.headers import FeatureShape, check_headers
from prvr_model.store.importers.problems import ProblemError
from prvr_model.store.importers.sanity import Sanity, without_padding
from prvr_model.store.writer import StoreWriter, check_room


def write_corpus(
    corpus: Corpus, target: Path, choices: ImportChoices, progress: Progress | None = None
) -> ImportReport:
    """Check the corpus wholly and write its store.

    Raises:
        CorpusError: Lists every problem.
        StoreError: The target exists or cannot be written.
    """
    video_items, frames = check_headers(corpus.videos, corpus.video_items, "frames", corpus)
    caption_items, tokens = check_headers(corpus.texts, corpus.caption_items, "tokens", corpus)
    copy = _Copy(
        corpus,
        _Kind("videos", corpus.videos, video_items, frames),
        _Kind("captions", corpus.texts, caption_items, tokens),
        choices,
        progress,
    )
    if corpus.problems or not frames or not tokens:
        copy.run(None)
        raise corpus.problems.error(f"import {corpus.name}")
    check_room(target, frames.num_bytes + tokens.num_bytes)
    with StoreWriter(
        target,
        name=corpus.name,
        video_dim=frames.dim,
        text_dim=tokens.dim,
        video_dtype=frames.dtype,
        text_dtype=tokens.dtype,
        source=corpus.source,
        seconds_per_row=corpus.seconds_per_row,
        overwrite=choices.overwrite,
    ) as writer:
        copy.run(writer)
        if corpus.problems:
            raise corpus.problems.error(f"import {corpus.name}")
    warnings = [*zero_row_warnings(writer.manifest), *copy.warnings]
    return ImportReport(target, writer.manifest, tuple(corpus.notes), tuple(warnings))


@dataclass(frozen=True)
class _Kind:
    """All videos, or all captions, whose header is fine."""

    name: Kind
    source: FeatureSource | None
    items: list[Item]
    shape: FeatureShape | None

    def id_of(self, item: Item) -> str:
        """Id of a video or a caption."""
        return item.line.video_id if self.name == "videos" else item.line.caption_id


@dataclass(frozen=True)
class _Copy:
    """The pass that reads every item."""

    corpus: Corpus
    videos: _Kind
    captions: _Kind
    choices: ImportChoices
    progress: Progress | None
    sanity: Sanity = field(default_factory=Sanity)
    warnings: list[str] = field(default_factory=list)
    trimmed: Counter[str] = field(default_factory=Counter)

    def run(self, writer: StoreWriter | None) -> None:
        kinds = (self.videos, self.captions)
        total = sum(len(kind.items) for kind in kinds)
        all_bytes = sum(kind.shape.num_bytes for kind in kinds if kind.shape)
        num_bytes = 0
        for done, (kind, item) in enumerate(self._items(), start=1):
            num_bytes += self._take(writer, kind, item)
            if self.progress:
                self.progress(Reading(done, total, num_bytes, all_bytes))
        self._conclude()

    def _items(self) -> Iterator[tuple[_Kind, Item]]:
        for kind in (self.videos, self.captions):
            yield from ((kind, item) for item in kind.items)

    def _take(self, writer: StoreWriter | None, kind: _Kind, item: Item) -> int:
        """Take one item; returns the bytes that its features have in the store as they were."""
        source, shape = kind.source, kind.shape
        assert source is not None, "items come from an open source"
        assert shape is not None, "items are left only where they share a shape"
        problems = self.corpus.problems
        try:
            rows = source.read(item.key)
            num_bytes = rows.size * np.dtype(shape.dtype).itemsize
            rows = self._trimmed(kind, rows)
            if writer is None or problems:
                stored_rows(f"{source.label}: {item.key!r}", rows, shape.dim, shape.dtype)
            else:
                self._write(writer, kind, item, rows)
            self.sanity.see(kind.name, item.split, kind.id_of(item), rows)
        except StoreError:
            raise
        except ProblemError as error:
            problems.add(error.kind, str(error))
        except DataError as error:
            problems.add("NaN or infinity", str(error))
        else:
            return num_bytes
        return 0

    def _trimmed(self, kind: _Kind, rows: np.ndarray) -> np.ndarray:
        if not self.choices.trim_padding:
            return rows
        kept = without_padding(rows)
        self.trimmed[kind.name] += len(kept) < len(rows)
        return kept

    def _write(self, writer: StoreWriter, kind: _Kind, item: Item, rows: np.ndarray) -> None:
        line, known = item.line, self.corpus
        if kind is self.videos:
            duration_s = known.durations.get(line.video_id, math.nan)
            writer.add_video(item.split, line.video_id, rows, duration_s)
        else:
            annotation = known.annotations.get((item.split, line.caption_id), NOTHING_KNOWN)
            writer.add_caption(
                item.split, line.caption_id, line.video_id, line.text, rows, annotation
            )

    def _conclude(self) -> None:
        """What only all items together show."""
        for name, count in self.trimmed.items():
            if count:
                self.corpus.notes.append(
                    f"rows of zeros were cut off the end of {count} {name} (--trim-padding)"
                )
        for finding in self.sanity.findings():
            if finding.name not in self.choices.allow:
                self.corpus.problems.add(finding.kind, finding.refusal)
            elif finding.is_new:
                self.warnings.append(finding.text)
