"""Imports the MSC layout: caption files and one HDF5 file each for videos and captions.

    <root>/[<collection>/]FeatureData/<collection>_clip_L14.h5        (T, D) by video id
    <root>/[<collection>/]TextData/<collection>_clip_L14.h5           (L, D) by caption id
    <root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

QVHighlights names its feature files differently. ActivityNet's captions have `v_` before the video
id, its features do not. Source: files as their authors released them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prvr_model.errors import CorpusError, DataError
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.caption_files import CaptionLine, read_caption_file
from prvr_model.store.importers.corpus import (
    Corpus,
    FeatureSource,
    ImportReport,
    Item,
    Progress,
    find_features,
    write_corpus,
)
from prvr_model.store.importers.hdf5_features import open_hdf5
from prvr_model.store.importers.problems import Problems
from prvr_model.store.importers.splitting import carve_validation, check_overlaps
from prvr_model.store.writer import check_target

_ACTIVITYNET_PREFIX = "v_"


@dataclass(frozen=True)
class MscFiles:
    """Paths of a corpus; those of features may not exist."""

    folder: Path
    collection: str
    video_features: Path
    text_features: Path

    def captions(self, split: str) -> Path:
        """Caption file of a split."""
        return self.folder / "TextData" / f"{self.collection}{split}.caption.txt"


# Seven: the corpus, the target, and one parameter for each option of the command.
def import_msc(
    root: Path,
    collection: str,
    target: Path,
    *,
    overwrite: bool = False,
    val_from_train: float | None = None,
    skip_uncaptioned: bool = False,
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
        overwrite: Replace an existing store.
        val_from_train: Share of train's videos that become the val split.
        skip_uncaptioned: Leave videos without captions out in any case.
        progress: Called for each item that has been read.

    Raises:
        CorpusError: Every problem of the corpus.
        StoreError: The target exists or cannot be written.
    """
    check_target(target, overwrite)
    problems, notes = Problems(), list[str]()
    files = find_files(root, collection)
    splits = _read_splits(files, val_from_train, problems, notes)
    with (
        open_hdf5(files.video_features, problems) as videos,
        open_hdf5(files.text_features, problems) as texts,
    ):
        source = _source(files, val_from_train)
        corpus = Corpus(collection, source, videos, texts, problems=problems, notes=notes)
        _find_items(corpus, splits)
        _check_unused(corpus, skip_uncaptioned or not _uses_all_files(files, val_from_train))
        return write_corpus(corpus, target, overwrite=overwrite, progress=progress)


def find_files(root: Path, collection: str) -> MscFiles:
    """Folder and feature files of a collection.

    Raises:
        CorpusError: Neither folder has FeatureData and TextData.
    """
    folders = [root / collection, root]
    for folder in folders:
        if (folder / "FeatureData").is_dir() and (folder / "TextData").is_dir():
            pairs = [
                (folder / "FeatureData" / video, folder / "TextData" / text)
                for video, text in _feature_names(collection)
            ]
            # The pair with most existing files, so that the message names the missing one.
            videos, texts = max(pairs, key=lambda pair: sum(path.is_file() for path in pair))
            return MscFiles(folder, collection, videos, texts)
    looked = [f"looked for FeatureData and TextData in {folder}" for folder in folders]
    raise CorpusError(f"there is no collection {collection!r} in the MSC layout", looked)


def _feature_names(collection: str) -> Iterator[tuple[str, str]]:
    yield f"{collection}_clip_L14.h5", f"{collection}_clip_L14.h5"
    # Published for QVHighlights, whose files are named in the singular.
    name = collection.removesuffix("s") if collection.startswith("qvhighlight") else collection
    yield f"{name}_slowfast_clip.h5", f"{name}_slowfast_clip_text.h5"


def _read_splits(
    files: MscFiles, val_from_train: float | None, problems: Problems, notes: list[str]
) -> dict[str, list[CaptionLine]]:
    splits = {
        split: read_caption_file(files.captions(split), problems)
        for split in SPLIT_NAMES
        if files.captions(split).exists()
    }
    if "train" not in splits:
        problems.add("missing file", str(files.captions("train")))
    elif val_from_train is not None and splits["train"]:
        splits, carving = carve_validation(splits, val_from_train)
        notes += carving
    elif "val" not in splits:
        problems.add(
            "missing file",
            f"{files.captions('val')}; --val-from-train 0.1 takes validation videos from train",
        )
    if "test" not in splits:
        notes.append(f"there is no test split: {files.captions('test')} does not exist")
    check_overlaps(splits, problems, notes)
    return splits


def _uses_all_files(files: MscFiles, val_from_train: float | None) -> bool:
    there = all(files.captions(split).exists() for split in SPLIT_NAMES)
    return there and val_from_train is None


def _find_items(corpus: Corpus, splits: dict[str, list[CaptionLine]]) -> None:
    for split, lines in splits.items():
        if corpus.videos:
            corpus.video_items.extend(_videos(corpus.videos, split, lines, corpus.problems))
        if corpus.texts:
            missing = ("missing key", "caption {line.caption_id!r} ({line.place}) is not in {file}")
            corpus.caption_items.extend(
                find_features(corpus.texts, split, lines, _caption_keys, missing, corpus.problems)
            )
        if empty := sum(not line.text for line in lines):
            corpus.notes.append(f"{empty} captions of {split} have no text, only features")


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


def _check_unused(corpus: Corpus, leave_out: bool) -> None:
    if corpus.videos:
        unused = _unused(corpus.videos, {item.key for item in corpus.video_items}, corpus)
        if leave_out and unused:
            corpus.notes.append(f"{len(unused)} videos that no caption in use names were left out")
        elif not leave_out:
            for key in unused:
                corpus.problems.add(
                    "video without caption",
                    f"{key!r} of {corpus.videos.label} is in no caption file "
                    "(--skip-uncaptioned leaves such videos out)",
                )
    if corpus.texts and (
        unused := _unused(corpus.texts, {item.key for item in corpus.caption_items}, corpus)
    ):
        corpus.notes.append(
            f"{len(unused)} entries of {corpus.texts.label} belong to no caption that was read"
        )


def _unused(source: FeatureSource, used: set[str], corpus: Corpus) -> list[str]:
    # A key with slashes lies in nested groups; only its first part is at the top level.
    first_parts = {key.partition("/")[0] for key in used}
    try:
        return [key for key in source.names() if key not in first_parts]
    except DataError as error:
        corpus.problems.add("unreadable features", str(error))
        return []


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
    return {
        "kind": "msc",
        "folder": str(files.folder.resolve()),
        "collection": files.collection,
        "video_features": files.video_features.name,
        "text_features": files.text_features.name,
        "val_from_train": val_from_train,
    }
