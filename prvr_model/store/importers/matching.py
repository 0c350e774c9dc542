"""Finds the features of captions and their videos, and says how names differ."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.corpus import Corpus, ImportChoices, Item, find_features
from prvr_model.store.importers.features import FeatureSource
from prvr_model.store.importers.layout import Keys
from prvr_model.store.importers.naming import naming_hint
from prvr_model.store.importers.problems import ProblemError, Problems


def leaves_out(splits: Mapping[str, list[CaptionLine]], choices: ImportChoices) -> bool:
    """Whether videos without captions are left out rather than problems.

    A corpus with all three splits should match its features. If a split's captions are missing or
    unused, such a video probably belongs to that split.
    """
    uses_all_files = all(splits.get(split) for split in SPLIT_NAMES)
    return choices.skip_uncaptioned or choices.val_from_train is not None or not uses_all_files


def find_items(corpus: Corpus, splits: Mapping[str, list[CaptionLine]], keys: Keys) -> None:
    """Find the features of all captions and of their videos."""
    for split, lines in splits.items():
        if corpus.videos:
            corpus.video_items.extend(_videos(corpus.videos, split, lines, keys, corpus))
        if corpus.texts:
            missing = ("missing key", "caption {line.caption_id!r} ({line.place}) is not in {file}")
            corpus.caption_items.extend(
                find_features(corpus.texts, split, lines, keys.of_caption, missing, corpus.problems)
            )
        if empty := [line for line in lines if not line.text]:
            corpus.notes.append(
                f"{len(empty)} captions of {split} have no text, only features (first "
                f"{empty[0].caption_id!r}, {empty[0].place})"
            )


def _videos(
    source: FeatureSource, split: str, lines: list[CaptionLine], keys: Keys, corpus: Corpus
) -> Iterator[Item]:
    firsts: dict[str, CaptionLine] = {}
    for line in lines:
        firsts.setdefault(line.video_id, line)
    missing = (
        "caption without video",
        "{line.caption_id!r} ({line.place}): {file} has no video {line.video_id!r}",
    )
    return find_features(source, split, firsts.values(), keys.of_video, missing, corpus.problems)


def check_names(corpus: Corpus, splits: Mapping[str, list[CaptionLine]], leave_out: bool) -> None:
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
    # A key with slashes lies in nested groups or folders, of which a source may name the first.
    used = {above for item in items for above in _itself_and_above(item.key)}
    try:
        return [key for key in source.names() if key not in used]
    except ProblemError as error:
        problems.add(error.kind, str(error))
        return []


def _itself_and_above(key: str) -> Iterator[str]:
    parts = key.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


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
