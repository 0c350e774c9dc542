"""Compares the sizes of well-known data sets with what their authors published."""

from collections.abc import Iterator, Mapping

from prvr_model.store.importers.caption_files import CaptionLine

# (videos, queries) of each published version of a split; None: the number was not published.
_Counts = tuple[int, int | None]
_KNOWN: Mapping[str, Mapping[str, tuple[_Counts, ...]]] = {
    # Val is the community's part of the official validation set, or all of it.
    "activitynet": {
        "train": ((9043, None), (10009, 37421)),
        "val": ((4430, 15753), (4917, 17505)),
        "test": ((4430, 15753), (4917, 17505)),
    },
    "charades": {"train": ((5338, 12408),), "val": ((1334, 3720),), "test": ((1334, 3720),)},
    "tvr": {"train": ((17435, None),), "val": ((2179, 10895),), "test": ((2179, 10895),)},
    "qvhighlights": {"train": ((2214, 7218),), "val": ((474, 1550),)},
}
_OTHER_NAMES = {"qvhighlight": "qvhighlights"}


def count_notes(name: str, splits: Mapping[str, list[CaptionLine]]) -> Iterator[str]:
    """A sentence for each split of a well-known data set that has other counts than published.

    Args:
        name: Name of the data set.
        splits: Captions by split, before validation videos are taken out of train.
    """
    plain = name.casefold()
    known = _KNOWN.get(_OTHER_NAMES.get(plain, plain), {})
    for split, versions in known.items():
        if lines := splits.get(split):
            found = (len({line.video_id for line in lines}), len(lines))
            if not any(_agree(found, version) for version in versions):
                published = " or ".join(map(_text, versions))
                yield f"{split} has {_text(found)}; {name} was published with {published}"


def _agree(found: tuple[int, int], version: _Counts) -> bool:
    return found[0] == version[0] and version[1] in (None, found[1])


def _text(counts: _Counts) -> str:
    videos, queries = counts
    return f"{videos:,} videos" + (f" and {queries:,} captions" if queries is not None else "")
