"""What a query gets: ranked videos with the seconds that answer it, as plain dataclasses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

_MOMENT = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("score", pa.float64())])
_SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("video", pa.string()),
        ("score", pa.float64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("moments", pa.list_(_MOMENT)),
    ]
)


@dataclass(frozen=True)
class Moment:
    """A span of a video that may show what a query says.

    Args:
        start_s: Its start in seconds.
        end_s: Its end.
        score: Score of its best place, comparable within one video.
    """

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Answer:
    """A video that a query found.

    Args:
        rank: From 1.
        video: Its name.
        video_id: Its id in the gallery; of equal scores the lower id comes first.
        score: The query's score with it.
        duration_s: Its length in seconds; None: not known.
        moments: Best first; none where times are not known.
        strip: Score of each of its frames, evenly spread over its length.
    """

    rank: int
    video: str
    video_id: int
    score: float
    duration_s: float | None
    moments: tuple[Moment, ...]
    strip: tuple[float, ...] = ()

    @property
    def start_s(self) -> float | None:
        """Start of the best moment in seconds; None: not known."""
        return self.moments[0].start_s if self.moments else None

    @property
    def end_s(self) -> float | None:
        """End of the best moment in seconds; None: not known."""
        return self.moments[0].end_s if self.moments else None

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON values, without its strip."""
        return {
            "rank": self.rank,
            "video": self.video,
            "score": self.score,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "moments": [vars(moment) for moment in self.moments],
        }


@dataclass(frozen=True)
class Answers:
    """What a gallery answers to one query, best first.

    Args:
        query: The sentence; empty where token features were given instead.
        answers: The videos.
    """

    query: str
    answers: tuple[Answer, ...]

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, number: int) -> Answer:
        return self.answers[number]

    def to_dict(self) -> dict[str, Any]:
        """Query and answers as JSON values."""
        return {"query": self.query, "answers": [answer.to_dict() for answer in self.answers]}

    def to_arrow(self) -> pa.Table:
        """A row for each video: rank, video, score, start_s, end_s, moments."""
        return pa.Table.from_pylist([answer.to_dict() for answer in self.answers], schema=_SCHEMA)


def merged(shards: Sequence[Sequence[Answer]], top: int) -> tuple[Answer, ...]:
    """The best answers of a gallery, given those of its shards to one query: as of the whole."""
    best = sorted(
        (answer for answers in shards for answer in answers),
        key=lambda answer: (-answer.score, answer.video_id),
    )
    return tuple(replace(answer, rank=rank) for rank, answer in enumerate(best[:top], 1))
