"""Imports the MSC layout: caption files and one HDF5 file each for videos and captions.

    <root>/[<collection>/]FeatureData/<collection>_clip_L14.h5        (T, D) by video id
    <root>/[<collection>/]TextData/<collection>_clip_L14.h5           (L, D) by caption id
    <root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

Feature files of other names are taken where each is the only one in its folder, or the user names
it. QVHighlights names its feature files differently. ActivityNet's captions have `v_` before the
video id, its features do not. Source: files as their authors released them.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from prvr_model.errors import CorpusError, did_you_mean
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.caption_files import CaptionLine, read_caption_file
from prvr_model.store.importers.corpus import (
    Corpus,
    FeatureSource,
    ImportChoices,
    ImportReport,
    Item,
    Progress,
    find_features,
    write_corpus,
)
from prvr_model.store.importers.found_files import feature_file, holds, names_in
from prvr_model.store.importers.hdf5_features import Hdf5Features, open_hdf5
from prvr_model.store.importers.naming import naming_hint
from prvr_model.store.importers.problems import ProblemError, Problems
from prvr_model.store.importers.splitting import carve_validation, check_overlaps
from prvr_model.store.writer import check_target

_ACTIVITYNET_PREFIX = "v_"
_PARTS = ("FeatureData", "TextData")
_OPTIONS = ("--video-features", "--text-features")


@dataclass(frozen=True)
class MscFiles:
    """Paths of a corpus; None for a feature file that is not there."""

    folder: Path
    collection: str
    video_features: Path | None
    text_features: Path | None

    def captions(self, split: str) -> Path:
        """Caption file of a split."""
        return self.folder / "TextData" / f"{self.collection}{split}.caption.txt"


def import_msc(
    root: Path,
    collection: str,
    target: Path,
    choices: ImportChoices | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Write a store from a corpus in the MSC layout.

    A video with features but without captions is a problem if the corpus has all three splits
    (the caption files do not match the features). If a split's captions are missing or unused, the
    video probably belongs to that split, and is left out with a note.

    Args:
        root: Folder that holds `<collection>/FeatureData` or `FeatureData`.
        collection: Name that begins the files' names.
        target: Folder of the store.
        choices: What the user chooses.
        progress: Called for each item that has been read.

    Raises:
        CorpusError: Every problem of the corpus.
        StoreError: The target exists or cannot be written.
    """
    choices = choices or ImportChoices()
    check_target(target, choices.overwrite)
    problems, notes = Problems(), list[str]()
    try:
        files = find_files(root, collection, choices, problems, notes)
        splits = _read_splits(files, choices.val_from_train, problems, notes)
    except OSError as error:
        reason = f"cannot look at {error.filename}: {error.strerror}"
        raise CorpusError(f"cannot import {collection}", [reason]) from error
    with (
        _opened(files.video_features, problems) as videos,
        _opened(files.text_features, problems) as texts,
    ):
        source = _source(files, choices.val_from_train)
        corpus = Corpus(collection, source, videos, texts, problems=problems, notes=notes)
        _find_items(corpus, splits)
        _check_names(corpus, splits, _leaves_out(splits, choices))
        return write_corpus(corpus, target, choices, progress)


def find_files(
    root: Path, collection: str, choices: ImportChoices, problems: Problems, notes: list[str]
) -> MscFiles:
    """Folder and feature files of a collection; feature files that are missing become problems.

    Raises:
        CorpusError: Neither folder has FeatureData and TextData.
        OSError: A folder cannot be read.
    """
    folders = [root / collection, root]
    folder = next((folder for folder in folders if _is_collection(folder)), None)
    if folder is None:
        looked = [f"looked for FeatureData and TextData in {folder}" for folder in folders]
        raise CorpusError(
            f"there is no collection {collection!r} in the MSC layout",
            [*looked, *_found_instead(root, collection)],
        )
    videos, texts = _feature_files(folder, collection, choices, problems, notes)
    return MscFiles(folder, collection, videos, texts)


def _feature_files(
    folder: Path, collection: str, choices: ImportChoices, problems: Problems, notes: list[str]
) -> Iterator[Path | None]:
    parts = [folder / part for part in _PARTS]
    pairs = [list(zip(parts, names, strict=True)) for names in _feature_names(collection)]
    # The pair with most existing files, so that the message names the missing one.
    best = max(pairs, key=lambda pair: sum((part / name).is_file() for part, name in pair))
    chosen = (choices.video_features, choices.text_features)
    for (part, name), choice, option in zip(best, chosen, _OPTIONS, strict=True):
        try:
            yield feature_file(part, name, choice, option, notes)
        except ProblemError as error:
            problems.add(error.kind, str(error))
            yield None


def _is_collection(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in _PARTS)


def _found_instead(root: Path, collection: str) -> Iterator[str]:
    """What is at a root that lacks a collection."""
    if not root.exists():
        beside = names_in(root.parent) if root.parent.is_dir() else []
        near = did_you_mean(root.name, [name.rstrip("/") for name in beside])
        yield f"{root} does not exist{near}"
    elif not root.is_dir():
        yield f"{root} is a file; --root names a folder"
    else:
        names = names_in(root)
        there = [name.rstrip("/") for name in names if _is_collection(root / name)]
        below = [root / name for name in names if _is_collection(root / name / collection)]
        if below:
            yield f"{below[0] / collection} has them: --root {shlex.quote(str(below[0]))}"
        elif there:
            yield f"collections there: {', '.join(there)}{did_you_mean(collection, there)}"
        else:
            yield holds(root, names)
        if root.name in _PARTS:
            yield f"--root names the folder above {root.name}"
        if (own := root / collection).is_dir():
            yield holds(own, names_in(own))


def _feature_names(collection: str) -> Iterator[tuple[str, str]]:
    yield f"{collection}_clip_L14.h5", f"{collection}_clip_L14.h5"
    # Published for QVHighlights, whose files are named in the singular.
    name = collection.removesuffix("s") if collection.startswith("qvhighlight") else collection
    yield f"{name}_slowfast_clip.h5", f"{name}_slowfast_clip_text.h5"


def _opened(path: Path | None, problems: Problems) -> AbstractContextManager[Hdf5Features | None]:
    return nullcontext() if path is None else open_hdf5(path, problems)


def _read_splits(
    files: MscFiles, val_from_train: float | None, problems: Problems, notes: list[str]
) -> dict[str, list[CaptionLine]]:
    splits = {
        split: read_caption_file(files.captions(split), problems)
        for split in SPLIT_NAMES
        if files.captions(split).exists()
    }
    if "train" not in splits:
        problems.add("missing file", _missing_captions(files, "train"))
    elif val_from_train is not None and splits["train"]:
        splits, carving = carve_validation(splits, val_from_train)
        notes += carving
    elif "val" not in splits:
        remedy = "; --val-from-train 0.1 takes validation videos from train"
        problems.add("missing file", _missing_captions(files, "val", remedy))
    if "test" not in splits:
        notes.append(f"there is no test split: {_missing_captions(files, 'test')}")
    check_overlaps(splits, problems, notes)
    return splits


def _missing_captions(files: MscFiles, split: str, remedy: str = "") -> str:
    path = files.captions(split)
    names = [name for name in names_in(path.parent) if name.endswith(".txt")]
    used = {files.captions(known).name for known in SPLIT_NAMES}
    near = did_you_mean(path.name, [name for name in names if name not in used])
    return f"{path}; caption files there: {', '.join(names) or 'none'}{remedy}{near}"


def _leaves_out(splits: Mapping[str, list[CaptionLine]], choices: ImportChoices) -> bool:
    uses_all_files = all(splits.get(split) for split in SPLIT_NAMES)
    return choices.skip_uncaptioned or choices.val_from_train is not None or not uses_all_files


def _find_items(corpus: Corpus, splits: dict[str, list[CaptionLine]]) -> None:
    for split, lines in splits.items():
        if corpus.videos:
            corpus.video_items.extend(_videos(corpus.videos, split, lines, corpus.problems))
        if corpus.texts:
            missing = ("missing key", "caption {line.caption_id!r} ({line.place}) is not in {file}")
            corpus.caption_items.extend(
                find_features(corpus.texts, split, lines, _caption_keys, missing, corpus.problems)
            )
        if empty := [line for line in lines if not line.text]:
            corpus.notes.append(
                f"{len(empty)} captions of {split} have no text, only features (first "
                f"{empty[0].caption_id!r}, {empty[0].place})"
            )


def _videos(
    source: FeatureSource, split: str, lines: list[CaptionLine], problems: Problems
) -> Iterator[Item]:
    firsts: dict[str, CaptionLine] = {}
    for line in lines:
        firsts.setdefault(line.video_id, line)
    missing = (
        "caption without video",
        "{line.caption_id!r} ({line.place}): {file} has no video {line.video_id!r}",
    )
    return find_features(source, split, firsts.values(), _video_keys, missing, problems)


def _check_names(corpus: Corpus, splits: Mapping[str, list[CaptionLine]], leave_out: bool) -> None:
    """What no caption uses, and how names that are missing may differ from it.

    Args:
        corpus: A corpus with its items found.
        splits: All captions.
        leave_out: Videos without captions are left out; otherwise they are problems.
    """
    lines = [line for split in splits.values() for line in split]
    if corpus.videos:
        unused = _unused(corpus.videos, corpus.video_items, corpus.problems)
        found = {item.line.video_id for item in corpus.video_items}
        missing = dict.fromkeys(line.video_id for line in lines if line.video_id not in found)
        _hint_at_names(corpus.videos, list(missing), unused, corpus.problems)
        _tell_of_silent(corpus.videos, unused, leave_out, corpus)
    if corpus.texts:
        unused = _unused(corpus.texts, corpus.caption_items, corpus.problems)
        found = {item.line.caption_id for item in corpus.caption_items}
        captions = [line.caption_id for line in lines if line.caption_id not in found]
        _hint_at_names(corpus.texts, captions, unused, corpus.problems)
        if unused:
            corpus.notes.append(
                f"{len(unused)} entries of {corpus.texts.label} belong to no caption that was read"
            )


def _unused(source: FeatureSource, items: Iterable[Item], problems: Problems) -> list[str]:
    # A key with slashes lies in nested groups; only its first part is at the top level.
    first_parts = {item.key.partition("/")[0] for item in items}
    try:
        return [key for key in source.names() if key not in first_parts]
    except ProblemError as error:
        problems.add(error.kind, str(error))
        return []


def _hint_at_names(
    source: FeatureSource, missing: Sequence[str], unused: Sequence[str], problems: Problems
) -> None:
    if not missing:
        return
    hint = naming_hint(missing, unused)
    if hint is None and unused:
        try:
            there = f"{unused[0]!r} is {source.outline(unused[0])}"
            hint = f"nothing there has a name like {missing[0]!r}; {there}"
        except ProblemError as error:
            problems.add(error.kind, str(error))
    if hint:
        problems.hint(f"{source.label}: {hint}")


def _tell_of_silent(
    videos: FeatureSource, unused: Sequence[str], leave_out: bool, corpus: Corpus
) -> None:
    """Videos with features that no caption names."""
    if leave_out and unused:
        corpus.notes.append(f"{len(unused)} videos that no caption in use names were left out")
    elif not leave_out:
        for key in unused:
            corpus.problems.add(
                "video without caption",
                f"{key!r} of {videos.label} is in no caption file "
                "(--skip-uncaptioned leaves such videos out)",
            )


def _video_keys(line: CaptionLine) -> Iterator[str]:
    yield from _with_and_without_prefix(line.video_id)


def _caption_keys(line: CaptionLine) -> Iterator[str]:
    yield line.caption_id
    number = line.caption_id.partition("#")[2].removeprefix("enc#")
    for video_id in _with_and_without_prefix(line.video_id):
        yield f"{video_id}#enc#{number}"
        yield f"{video_id}#{number}"


def _with_and_without_prefix(video_id: str) -> Iterator[str]:
    yield video_id
    if video_id.startswith(_ACTIVITYNET_PREFIX):
        yield video_id.removeprefix(_ACTIVITYNET_PREFIX)
    else:
        yield _ACTIVITYNET_PREFIX + video_id


def _source(files: MscFiles, val_from_train: float | None) -> dict[str, str | float | None]:
    features = (files.video_features, files.text_features)
    videos, texts = (path.name if path else None for path in features)
    return {
        "kind": "msc",
        "folder": str(files.folder.resolve()),
        "collection": files.collection,
        "video_features": videos,
        "text_features": texts,
        "val_from_train": val_from_train,
    }
