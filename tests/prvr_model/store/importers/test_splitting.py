"""Splits are drawn by video, the same on every machine, and none that is wanted is empty."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prvr_model.errors import DataError
from prvr_model.store.importers.splitting import draw_splits

VIDEOS = [f"v{number}" for number in range(100)]


def test_shares_are_kept_and_seeds_differ() -> None:
    splits = draw_splits(VIDEOS, (0.8, 0.1, 0.1))
    counts = [list(splits.values()).count(name) for name in ("train", "val", "test")]
    assert counts == [80, 10, 10]
    assert splits == draw_splits(VIDEOS[::-1], (0.8, 0.1, 0.1))
    assert splits != draw_splits(VIDEOS, (0.8, 0.1, 0.1), seed=1)
    # Another draw would move videos between the splits of stores that are made again.
    assert [video for video, name in splits.items() if name == "val"][:3] == ["v67", "v49", "v96"]


@given(st.integers(3, 40), st.tuples(*[st.integers(0, 9)] * 3).filter(any))
def test_each_wanted_split_has_a_video(count: int, weights: tuple[int, ...]) -> None:
    shares = tuple(weight / sum(weights) for weight in weights)
    splits = draw_splits(VIDEOS[:count], shares)
    assert set(splits) == set(VIDEOS[:count])
    wanted = {name for name, share in zip(("train", "val", "test"), shares, strict=True) if share}
    assert set(splits.values()) == wanted


def test_too_few_videos_are_refused() -> None:
    with pytest.raises(DataError, match="2 videos cannot be split into train, val, test"):
        draw_splits(["a", "b", "a"], (0.8, 0.1, 0.1))
