"""What the features retrieve by themselves, without any training.

A caption's sentence vector (the last row of its tokens) is compared with the rows of every video,
of which the largest cosine is the score, or with its segments, which is stronger. Both ask for text
and video features in one space, as CLIP's are. They are the yardstick of a trained model, and a
test of whether a store's features belong together.

On the 610 captions and 150 videos of `didemo_mini`'s test split SumR is 149.8 by rows and 171.0 by
segments: 21.1 more, 95 % interval over videos 15.4 to 26.8.

Source: METHOD, from videos and captions to features; yardsticks of 2026.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float, Int

from prvr_model.retrieval.segments import segments
from prvr_model.store.format import Manifest
from prvr_model.store.reader import StoreSplit

Form: TypeAlias = Literal["maximum", "segments"]
"""How frozen features score: `maximum` by `frozen_scores`, `segments` by `segment_scores`."""
FORMS: tuple[Form, ...] = get_args(Form)

# Numbers of one block (64 MiB), which are products, twice as many of segments, or features, of as
# many videos as fit; and captions of a block. They bound memory; no result depends on them.
_PRODUCTS = 1 << 24
_CAPTIONS = 4096


def why_no_shared_space(manifest: Manifest) -> str | None:
    """Why text and video of a store cannot be compared untrained; None if they can."""
    if manifest.source.get("kind") == "synthetic":
        return "text and video of generated data share no space"
    if manifest.video_dim == manifest.text_dim:
        return None
    return (
        f"text ({manifest.text_dim}) and video ({manifest.video_dim}) have different dimensions, "
        "so the frozen features cannot be compared"
    )


def frozen_scores(
    sentences: Float[np.ndarray, "captions dim"], videos: Sequence[Float[np.ndarray, "_ dim"]]
) -> Float[np.ndarray, "captions videos"]:
    """Largest cosine of each sentence with the rows of each video, exact, a block at a time.

    Args:
        sentences: Sentence vectors of any length; one of zeros has cosine 0 with everything.
        videos: Rows of each video, of any length and float type; read once each.
    """
    return _largest_products(sentences, videos, lambda rows, starts: (rows, starts))


def segment_scores(
    sentences: Float[np.ndarray, "captions dim"], videos: Sequence[Float[np.ndarray, "_ dim"]]
) -> Float[np.ndarray, "captions videos"]:
    """Largest product of each sentence with the segments of each video, see `segments`.

    Nothing is trained, and a score depends on its sentence and its video alone.

    Args:
        sentences: Sentence vectors of any length; one of zeros has score 0 with everything.
        videos: Rows of each video, of any length and float type; read once each.
    """
    return _largest_products(sentences, videos, segments)


def frozen_ranks(
    split: StoreSplit,
    correct: Int[np.ndarray, "captions most_correct"] | None = None,
    form: Form = "maximum",
) -> Int[np.ndarray, "captions"]:
    """Rank of each caption's best correct video by the frozen score, from 1.

    Wrong videos of the same score count as ranked before it; other correct ones never do, as in
    `metrics.best_ranks`.

    Args:
        split: Features; both dimensions agree.
        correct: Rows of correct videos, padded by repeating one; None: each caption's own video.
        form: How videos are scored.
    """
    if correct is None:
        correct = np.asarray(split.caption_video)[:, None]
    blocks = score_blocks(split, form)
    return np.concatenate([ranks_of_scores(scores, correct[rows]) for rows, scores in blocks])


def score_blocks(
    split: StoreSplit, form: Form = "maximum"
) -> Iterator[tuple[slice, Float[np.ndarray, "captions videos"]]]:
    """Scores of some captions at a time against all videos of a split."""
    videos = _Rows(split)
    for start in range(0, len(split.caption_ids), _CAPTIONS):
        rows = range(start, min(start + _CAPTIONS, len(split.caption_ids)))
        scores = _SCORES[form](sentence_vectors(split, rows), videos)
        yield slice(rows.start, rows.stop), scores


def ranks_of_scores(
    scores: Float[np.ndarray, "captions videos"], correct: Int[np.ndarray, "captions most_correct"]
) -> Int[np.ndarray, "captions"]:
    """Rank of the best correct video of each caption; see `frozen_ranks`."""
    best = np.take_along_axis(scores, correct, axis=1).max(axis=1)
    before = scores >= best[:, None]
    np.put_along_axis(before, correct, values=False, axis=1)
    ranks: np.ndarray = before.sum(axis=1) + 1
    return ranks


def sentence_vectors(
    split: StoreSplit, captions: Sequence[int]
) -> Float[np.ndarray, "captions dim"]:
    """Last row of each caption."""
    return np.array([split.tokens(caption)[-1] for caption in captions], np.float32)


def unit_rows(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    """Rows of norm 1 in float32; a row of zeros stays so."""
    wide = rows.astype(np.float32)
    norms = np.sqrt(np.einsum("rd,rd->r", wide, wide))[:, None]
    wide /= np.where(norms > 0, norms, 1)
    return wide


_SCORES = {"maximum": frozen_scores, "segments": segment_scores}


def _largest_products(
    sentences: np.ndarray,
    videos: Sequence[np.ndarray],
    described: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Largest product of each sentence with the vectors that describe each video's unit rows."""
    unit = unit_rows(sentences)
    scores = np.empty((len(unit), len(videos)), np.float32)
    most_rows = max(1, _PRODUCTS // max(1, *unit.shape))
    for first, rows, starts in _blocks(videos, most_rows):
        vectors, starts_of_vectors = described(unit_rows(rows), starts)
        products = vectors @ unit.T
        # One row of scores for each video: the products of its vectors lie one below the other.
        best = np.maximum.reduceat(products, starts_of_vectors, axis=0)
        scores[:, first : first + len(starts)] = best.T
    return scores


class _Rows(Sequence[np.ndarray]):
    """The videos of a split, read when they are asked for."""

    def __init__(self, split: StoreSplit) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split.video_ids)

    def __getitem__(self, video: int) -> np.ndarray:  # type: ignore[override]
        if video >= len(self):
            raise IndexError(video)
        return self._split.frames(video)


def _blocks(
    videos: Sequence[np.ndarray], most_rows: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """First video, rows, and where each video's rows start, of as many videos as fit a block."""
    first, parts, count = 0, list[np.ndarray](), 0
    for number, rows in enumerate(videos):
        if parts and count + len(rows) > most_rows:
            yield first, np.concatenate(parts), _starts(parts)
            first, parts, count = number, [], 0
        parts.append(rows)
        count += len(rows)
    if parts:
        yield first, np.concatenate(parts), _starts(parts)


def _starts(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *map(len, parts[:-1])])
