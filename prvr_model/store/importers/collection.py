"""The folder of a collection in layouts with FeatureData and TextData, and its caption files.

<root>/[<collection>/]FeatureData/...
<root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

A user names the collection, or takes the only one there.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prvr_model.errors import CorpusError, did_you_mean
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.caption_files import CaptionLine, read_caption_file
from prvr_model.store.importers.found_files import holds, names_in
from prvr_model.store.importers.problems import Problems

_PARTS = ("FeatureData", "TextData")
_CAPTIONS_END = ".caption.txt"
_TRAIN_END = f"train{_CAPTIONS_END}"


@dataclass(frozen=True)
class Collection:
    """A folder with FeatureData and TextData, and the name that begins its caption files."""

    folder: Path
    name: str

    @property
    def features(self) -> Path:
        """Folder of the videos' features."""
        return self.folder / "FeatureData"

    @property
    def texts(self) -> Path:
        """Folder of captions and their features."""
        return self.folder / "TextData"

    def captions(self, split: str) -> Path:
        """Caption file of a split."""
        return self.texts / f"{self.name}{split}{_CAPTIONS_END}"

    def splits(self, problems: Problems) -> dict[str, list[CaptionLine]]:
        """Captions of the splits that have a caption file."""
        return {
            split: read_caption_file(self.captions(split), problems)
            for split in SPLIT_NAMES
            if self.captions(split).exists()
        }

    def missing_split(self, split: str) -> str:
        """Where a split's captions should be, and the caption files that are there."""
        path = self.captions(split)
        names = [name for name in names_in(self.texts) if name.endswith(".txt")]
        used = {self.captions(known).name for known in SPLIT_NAMES}
        near = did_you_mean(path.name, [name for name in names if name not in used])
        return f"{path}; caption files there: {', '.join(names) or 'none'}{near}"


def find_collection(root: Path, name: str | None, notes: list[str]) -> Collection:
    """The collection of a name, or the only one there.

    Raises:
        CorpusError: There is none of that name, or several.
        OSError: A folder cannot be read.
    """
    if name is not None:
        return _named(root, name)
    found = list(_all_there(root))
    if len(found) == 1:
        notes.append(f"collection {found[0].name} is taken: it is the only one there")
        return found[0]
    if not found:
        what = f"FeatureData and a TextData/*{_TRAIN_END}"
        there = holds(root, names_in(root)) if root.is_dir() else f"{root} is no folder"
        raise CorpusError(f"there is no collection with {what} at {root}", [there])
    names = ", ".join(collection.name for collection in found)
    raise CorpusError(
        f"which collection is meant at {root}?",
        [f"collections there: {names}; name one with --collection NAME"],
    )


def known_collection(root: Path, name: str | None) -> Collection | None:
    """The collection that `find_collection` takes; None where it would refuse.

    Raises:
        OSError: A folder cannot be read.
    """
    try:
        return find_collection(root, name, [])
    except CorpusError:
        return None


def _named(root: Path, name: str) -> Collection:
    folders = [root / name, root]
    folder = next((folder for folder in folders if _is_collection(folder)), None)
    if folder is not None:
        return Collection(folder, name)
    looked = [f"looked for FeatureData and TextData in {folder}" for folder in folders]
    raise CorpusError(
        f"there is no collection {name!r} at {root}", [*looked, *_found_instead(root, name)]
    )


def _all_there(root: Path) -> Iterator[Collection]:
    if not root.is_dir():
        return
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if _is_collection(folder):
            for name in names_in(folder / "TextData"):
                if name.endswith(_TRAIN_END):
                    yield Collection(folder, name.removesuffix(_TRAIN_END))


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
