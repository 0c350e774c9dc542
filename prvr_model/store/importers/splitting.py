"""Which captions belong to train, val and test."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from prvr_model.errors import DataError
from prvr_model.store.format import SPLIT_NAMES
from prvr_model.store.importers.caption_files import CaptionLine
from prvr_model.store.importers.problems import Problems

Splits = Mapping[str, list[CaptionLine]]


def settle_splits(
    splits: Splits,
    missing: Callable[[str], str],
    val_from_train: float | None,
    problems: Problems,
    notes: list[str],
) -> dict[str, list[CaptionLine]]:
    """The splits of a store from those that files have; what is missing becomes a problem.

    Args:
        splits: Captions by split, as files have them.
        missing: Says where the captions of a split should be, and what is there.
        val_from_train: See `carve_validation`; None: val is the files' own.
        problems: Takes splits that are missing or overlap.
        notes: Takes what was decided.
    """
    settled = dict(splits)
    if "train" not in splits:
        problems.add("missing file", missing("train"))
    elif val_from_train is not None and splits["train"]:
        settled, carving = carve_validation(splits, val_from_train)
        notes += carving
    elif "val" not in splits:
        remedy = "; --val-from-train 0.1 takes validation videos from train"
        problems.add("missing file", f"{missing('val')}{remedy}")
    if "test" not in settled:
        notes.append(f"there is no test split: {missing('test')}")
    check_overlaps(settled, problems, notes)
    return settled


def carve_validation(
    splits: Splits, fraction: float, seed: int = 0
) -> tuple[dict[str, list[CaptionLine]], list[str]]:
    """Take validation videos, with their captions, out of train.

    Trials are selected on validation and the champion is scored once on test. A corpus without test
    reports on its val, which becomes test here. A corpus that has all three keeps its test, and its
    own val is left out.

    Args:
        splits: Captions by split; must include train.
        fraction: Share of train's videos, between 0 and 1; at least one is taken, one is left.
        seed: Seed of the draw; the same seed draws the same videos on every machine.

    Returns:
        The new splits, and notes for the user on what happened to the old ones.

    Raises:
        DataError: The fraction is not between 0 and 1, or train has a single video.
    """
    if not 0 < fraction < 1:
        raise DataError(f"--val-from-train is {fraction}, it must lie between 0 and 1")
    videos = list(dict.fromkeys(line.video_id for line in splits["train"]))
    if len(videos) < 2:
        raise DataError(f"--val-from-train needs two train videos or more, found {len(videos)}")
    count = min(max(1, round(fraction * len(videos))), len(videos) - 1)
    carved = set(sorted(videos, key=lambda video: _draw(seed, video))[:count])
    result = {
        "train": [line for line in splits["train"] if line.video_id not in carved],
        "val": [line for line in splits["train"] if line.video_id in carved],
    }
    notes = [f"{count} of {len(videos)} train videos became the val split (--val-from-train)"]
    return result | _rest(splits, notes), notes


def draw_splits(videos: Iterable[str], shares: Sequence[float], seed: int = 0) -> dict[str, str]:
    """Draw the split of each video.

    Args:
        videos: Ids.
        shares: Of train, val and test; their sum is 1. A split with a share gets a video at least.
        seed: Seed of the draw; the same seed draws the same videos on every machine.

    Raises:
        DataError: There are fewer videos than splits.
    """
    drawn = sorted(set(videos), key=lambda video: _draw(seed, video))
    wanted = [name for name, share in zip(SPLIT_NAMES, shares, strict=True) if share]
    if len(drawn) < len(wanted):
        raise DataError(f"{len(drawn)} videos cannot be split into {', '.join(wanted)}")
    splits: dict[str, str] = {}
    begin, share_before = 0, 0.0
    for name, share in zip(SPLIT_NAMES, shares, strict=True):
        if share:
            share_before += share
            left_for_others = len(wanted) - wanted.index(name) - 1
            end = max(begin + 1, round(share_before * len(drawn)))
            end = min(end, len(drawn) - left_for_others)
            splits |= dict.fromkeys(drawn[begin:end], name)
            begin = end
    return splits


def check_overlaps(splits: Splits, problems: Problems, notes: list[str]) -> None:
    """Make videos of train in val or test problems; note videos that val and test share.

    Some published corpora report on the split that they select on; that is a user's choice.
    """
    videos = {name: {line.video_id for line in lines} for name, lines in splits.items()}
    for other in ("val", "test"):
        for video in sorted(videos.get("train", set()) & videos.get(other, set())):
            problems.add("duplicate id", f"video {video!r} is in both train and {other}")
    if shared := videos.get("val", set()) & videos.get("test", set()):
        notes.append(
            f"val and test share {len(shared)} videos: selection on val favours the test figures"
        )


def _rest(splits: Splits, notes: list[str]) -> dict[str, list[CaptionLine]]:
    if "test" in splits:
        if "val" in splits:
            notes.append("the corpus's own val split was left out")
        return {"test": splits["test"]}
    if "val" in splits:
        notes.append("the corpus has no test split: its own val split became test")
        return {"test": splits["val"]}
    return {}


def _draw(seed: int, video_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{video_id}".encode()).digest()
