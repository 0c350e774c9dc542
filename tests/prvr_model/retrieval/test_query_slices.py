"""Slices of a split whose captions are known one by one."""

import numpy as np

from prvr_model.retrieval.query_slices import QuerySlice, query_slices
from prvr_model.store.reader import StoreSplit


class _Split(StoreSplit):
    """Three videos, of which the second has no known length."""

    def __init__(self) -> None:
        self.video_ids = ("a", "b", "c")
        self.caption_video = np.array([0, 0, 0, 1, 2])
        self.caption_texts = ("one", "one two", "one two three", "a b c d", "a b c d")
        self.num_frames = np.array([10, 30, 20])
        self.durations_s = np.array([10.0, np.nan, 20.0])
        self.moments = ([(1, 3)], [(0, 2), (4, 6)], [], [(0, 1)], [(0, 21)])
        self.query_types = ("v", "t", "v", "", "vt")


def found(split: StoreSplit, seconds_per_row: float | None) -> dict[str, dict[str, list[int]]]:
    kinds: dict[str, dict[str, list[int]]] = {}
    for each in query_slices(split, seconds_per_row):
        kinds.setdefault(each.kind, {})[each.part] = np.flatnonzero(each.captions).tolist()
    return kinds


def test_every_caption_is_in_the_part_that_its_value_says() -> None:
    assert found(_Split(), None) == {
        # The fourth caption's video has no length, the third caption no moment.
        "moment-to-video ratio": {"0 to 0.2": [0], "0.2 to 0.4": [1], "0.4 to 1": [4]},
        "video length": {"up to 10 s": [0, 1, 2], "more than 10 s": [4]},
        "events of the video": {"up to 1": [3, 4], "more than 1": [0, 1, 2]},
        "words of the query": {"up to 2": [0, 1], "more than 2": [2, 3, 4]},
        "query type": {"v": [0, 2], "t": [1], "vt": [4]},
    }
    lengths = found(_Split(), 1.0)["video length"]
    assert lengths == {"up to 10 s": [0, 1, 2], "more than 10 s": [3, 4]}


def test_without_seconds_rows_are_counted_and_what_is_all_alike_is_no_slice() -> None:
    split = _Split()
    split.durations_s = np.full(3, np.nan)
    split.caption_texts = split.query_types = ("same",) * 5
    assert found(split, None).keys() == {"video length", "events of the video"}
    split.moments, split.query_types = ((),) * 5, tuple("abcde")
    kinds = found(split, None)
    assert kinds.keys() == {"video length", "captions of the video", "query type"}
    assert kinds["captions of the video"] == {"up to 1": [3, 4], "more than 1": [0, 1, 2]}
    assert kinds["video length"] == {"up to 10 rows": [0, 1, 2], "more than 10 rows": [3, 4]}
    slices = query_slices(split, None)
    assert all(isinstance(each, QuerySlice) and each.captions.dtype == bool for each in slices)


def test_moments_that_overlap_by_half_are_one_event() -> None:
    split = _Split()
    split.caption_video = np.array([0, 0, 0, 2, 2])
    split.moments = ([(0, 4)], [(1, 4)], [(3, 9)], [(0, 4)], [(1, 5.5)])
    # Of video 0 the second is three quarters of the first; of video 2 both are half of their union.
    events = found(split, None)["events of the video"]
    assert events == {"up to 1": [3, 4], "more than 1": [0, 1, 2]}
    split.moments = (*split.moments[:4], [(1, 8)])
    assert "events of the video" not in found(split, None)
