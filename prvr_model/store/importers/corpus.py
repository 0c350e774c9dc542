"""Checks a corpus of captions and features of any layout, and writes it as a store.

Headers of all features are checked first, then every item is read once: it goes to the store
while all is well, and is only checked after the first problem, so that the error lists everything.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from prvr_model.errors import DataError, StoreError
from prvr_model.store.arrow_file import stored_rows
from prvr_model.store.format import DTypeName, Manifest, zero_row_warnings
from prvr_model.store.importers.annotating import NO_FILES, AnnotationFiles, Annotations, annotate
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.hdf5_features import Header
from prvr_model.store.importers.problems import ProblemError, Problems
from prvr_model.store.writer import StoreWriter, check_room

Progress = Callable[[int, int], None]
"""Called with items done and items in all."""


class FeatureSource(Protocol):
    """Features by key, as one layout keeps them."""

    label: str
    """Its name in messages."""

    def names(self) -> Iterator[str]:
        """Every name at the top level; raises DataError."""

    def find(self, candidates: Iterable[str]) -> str | None:
        """The first of `candidates` that exists."""

    def outline(self, name: str) -> str:
        """What a name leads to, in a few words; raises DataError."""

    def header(self, key: str) -> Header:
        """Shape and type; raises ProblemError."""

    def read(self, key: str) -> np.ndarray:
        """(rows, dim); raises ProblemError."""


@dataclass(frozen=True)
class ImportChoices:
    """What a user chooses about an import.

    Args:
        overwrite: Replace a store that is there.
        val_from_train: Share of train's videos that become the val split.
        skip_uncaptioned: Leave videos without captions out in any case.
        video_features: File of videos' features, by name where the layout has them, or by path;
            None: the one that the layout names, or the only one there.
        text_features: The same for captions.
        annotations: Files of moments, lengths and verified labels.
    """

    overwrite: bool = False
    val_from_train: float | None = None
    skip_uncaptioned: bool = False
    video_features: str | None = None
    text_features: str | None = None
    annotations: AnnotationFiles = NO_FILES


@dataclass(frozen=True)
class ImportReport:
    """What an import made, and what the user should know about it.

    `notes` are what was decided; `warnings` are what training will suffer from.
    """

    store: Path
    manifest: Manifest
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One video or caption and the key of its features; `line` is its (first) caption."""

    split: str
    key: str
    line: CaptionLine


@dataclass(frozen=True)
class Layout:
    """Numbers that all features of a kind share, and the bytes that they take in a store."""

    dim: int
    dtype: DTypeName
    num_bytes: int


@dataclass(frozen=True)
class Corpus:
    """A corpus with its features found.

    Args:
        name: Name of the data set.
        source: Where it came from, for the manifest.
        videos: Features of videos; None if they could not be opened.
        texts: Features of captions; None if they could not be opened.
        video_items: Videos in the order of each split's caption file.
        caption_items: Captions in file order.
        problems: What is wrong; checks add to it.
        notes: What a user should know; checks add to it.
    """

    name: str
    source: Mapping[str, Any]
    videos: FeatureSource | None
    texts: FeatureSource | None
    video_items: list[Item] = field(default_factory=list)
    caption_items: list[Item] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    notes: list[str] = field(default_factory=list)


def find_features(
    source: FeatureSource,
    split: str,
    lines: Iterable[CaptionLine],
    candidates: Callable[[CaptionLine], Iterable[str]],
    missing: tuple[str, str],
    problems: Problems,
) -> Iterator[Item]:
    """Items of the lines whose features exist; the others become problems.

    Args:
        source: Features.
        split: Split of the lines.
        lines: Captions, or the first caption of each video.
        candidates: Keys to try for a line, best first.
        missing: Kind of problem, and the message with `{line}` and `{file}`.
        problems: Takes missing keys and keys that two lines lead to.
    """
    owners: dict[str, CaptionLine] = {}
    for line in lines:
        tried = list(dict.fromkeys(candidates(line)))
        key = source.find(tried)
        if key is None:
            detail = missing[1].format(line=line, file=source.label)
            problems.add(missing[0], f"{detail} (tried {', '.join(tried)})")
        elif (owner := owners.setdefault(key, line)) is not line:
            problems.add(
                "duplicate id", f"{owner.place} and {line.place} both lead to features {key!r}"
            )
        else:
            yield Item(split, key, line)


def write_corpus(
    corpus: Corpus, target: Path, choices: ImportChoices, progress: Progress | None = None
) -> ImportReport:
    """Check the corpus wholly and write its store.

    Args:
        corpus: The corpus.
        target: Folder of the store.
        choices: Whether a store there is replaced, and the annotation files.
        progress: Called for each item that has been read.

    Raises:
        CorpusError: Lists every problem.
        StoreError: The target exists or cannot be written.
    """
    video_items, frames = _check_headers(corpus.videos, corpus.video_items, "frames", corpus)
    caption_items, tokens = _check_headers(corpus.texts, corpus.caption_items, "tokens", corpus)
    annotations = annotate(
        choices.annotations, _lines_by_split(corpus), corpus.problems, corpus.notes
    )
    copy = _Copy(corpus, video_items, caption_items, frames, tokens, annotations, progress)
    if corpus.problems or not frames or not tokens:
        copy.run(None)
        raise corpus.problems.error(corpus.name)
    check_room(target, frames.num_bytes + tokens.num_bytes)
    with StoreWriter(
        target,
        name=corpus.name,
        video_dim=frames.dim,
        text_dim=tokens.dim,
        video_dtype=frames.dtype,
        text_dtype=tokens.dtype,
        source={**corpus.source, **annotations.source},
        overwrite=choices.overwrite,
    ) as writer:
        copy.run(writer)
        if corpus.problems:
            raise corpus.problems.error(corpus.name)
    warnings = zero_row_warnings(writer.manifest)
    return ImportReport(target, writer.manifest, tuple(corpus.notes), tuple(warnings))


@dataclass(frozen=True)
class _Copy:
    """The pass that reads every item."""

    corpus: Corpus
    video_items: list[Item]
    caption_items: list[Item]
    frames: Layout | None
    tokens: Layout | None
    annotations: Annotations
    progress: Progress | None

    def run(self, writer: StoreWriter | None) -> None:
        total = len(self.video_items) + len(self.caption_items)
        for done, (is_video, item) in enumerate(self._items(), start=1):
            self._take(writer, is_video, item)
            if self.progress:
                self.progress(done, total)

    def _items(self) -> Iterator[tuple[bool, Item]]:
        yield from ((True, item) for item in self.video_items)
        yield from ((False, item) for item in self.caption_items)

    def _take(self, writer: StoreWriter | None, is_video: bool, item: Item) -> None:
        source, layout = (
            (self.corpus.videos, self.frames) if is_video else (self.corpus.texts, self.tokens)
        )
        assert source is not None, "items come from an open source"
        assert layout is not None, "items are left only where they share a layout"
        problems = self.corpus.problems
        try:
            rows = source.read(item.key)
            if writer is None or problems:
                stored_rows(f"{source.label}: {item.key!r}", rows, layout.dim, layout.dtype)
            else:
                _write(writer, is_video, item, rows, self.annotations)
        except StoreError:
            raise
        except ProblemError as error:
            problems.add(error.kind, str(error))
        except DataError as error:
            problems.add("NaN or infinity", str(error))


def _write(
    writer: StoreWriter, is_video: bool, item: Item, rows: np.ndarray, known: Annotations
) -> None:
    line = item.line
    if is_video:
        writer.add_video(item.split, line.video_id, rows, known.duration_s(line.video_id))
    else:
        writer.add_caption(
            item.split,
            line.caption_id,
            line.video_id,
            line.text,
            rows,
            known.of(item.split, line.caption_id),
        )


def _lines_by_split(corpus: Corpus) -> dict[str, list[CaptionLine]]:
    splits: dict[str, list[CaptionLine]] = {}
    for item in corpus.caption_items:
        splits.setdefault(item.split, []).append(item.line)
    return splits


def _check_headers(
    source: FeatureSource | None, items: list[Item], unit: str, corpus: Corpus
) -> tuple[list[Item], Layout | None]:
    """Items whose header is fine, and what they share; problems for the others."""
    if source is None:
        return [], None
    headers = list(_headers(source, items, corpus.problems))
    dims = Counter(header.dim for _, header in headers if header.dim is not None)
    # The dimension of most items: that of the first could be odd and make all others problems.
    dim = dims.most_common(1)[0][0] if dims else None
    problems = corpus.problems
    fine = [
        (item, header)
        for item, header in headers
        if _header_is_fine(f"{source.label}: {item.key!r}", header, dim, unit, problems)
    ]
    if hint := _transposed([header for _, header in headers]):
        problems.hint(f"{source.label}: {hint}")
    if not fine or dim is None:
        return [], None
    dtype = _common_dtype(source, fine, corpus.notes)
    rows = sum(header.num_rows or 0 for _, header in fine)
    layout = Layout(dim, dtype, rows * dim * np.dtype(dtype).itemsize)
    return [item for item, _ in fine], layout


def _headers(
    source: FeatureSource, items: list[Item], problems: Problems
) -> Iterator[tuple[Item, Header]]:
    for item in items:
        try:
            yield item, source.header(item.key)
        except ProblemError as error:
            problems.add(error.kind, str(error))


def _header_is_fine(
    where: str, header: Header, dim: int | None, unit: str, problems: Problems
) -> bool:
    if header.dtype.kind != "f":
        found = _KINDS.get(header.dtype.kind, str(header.dtype))
        problems.add(
            "wrong type", f"{where} holds {found}, expected floating point (float16 or float32)"
        )
    elif header.dim is None:
        problems.add("wrong dimensions", f"{where} has shape {header.shape}, expected (L, D)")
    elif header.num_rows == 0:
        problems.add(f"zero {unit}", f"{where} has shape {header.shape}")
    elif header.dim != dim:
        turned = "; transposed?" if header.num_rows == dim else ""
        problems.add(
            "wrong dimensions", f"{where} has dimension {header.dim}, most have {dim}{turned}"
        )
    else:
        return True
    return False


# What numpy calls by a letter.
_KINDS = {"O": "text or lists of any length", "S": "text", "U": "text", "V": "records"}


def _transposed(headers: list[Header]) -> str | None:
    """That arrays lie as (D, L), where they agree in rows and differ in columns."""
    rows = {header.num_rows for header in headers if header.num_rows}
    dims = Counter(header.dim for header in headers if header.dim)
    if len(rows) != 1 or 2 * max(dims.values()) >= dims.total():
        return None
    return (
        f"all arrays have {rows.pop()} rows and between {min(dims)} and {max(dims)} columns: they "
        "lie transposed, (D, L); store array.T"
    )


def _common_dtype(
    source: FeatureSource, fine: list[tuple[Item, Header]], notes: list[str]
) -> DTypeName:
    widest = max((header.dtype for _, header in fine), key=lambda dtype: dtype.itemsize)
    if widest.itemsize > np.dtype(np.float32).itemsize:
        notes.append(f"{source.label} has {widest.name} features; they are stored as float32")
    return "float16" if widest.itemsize == np.dtype(np.float16).itemsize else "float32"
