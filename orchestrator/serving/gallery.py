"""A gallery that answers typed sentences: `Gallery.open(path).query("somebody opens a fridge")`."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from orchestrator.base.addresses import user_path
from orchestrator.base.errors import QueryError
from orchestrator.serving.answers import Answer, Answers, Moment
from prvr_model.errors import DataError, GalleryError
from prvr_model.retrieval.caption_embedder import CaptionEmbedder
from prvr_model.retrieval.found_videos import FoundVideos, search_videos
from prvr_model.retrieval.gallery import WHOLE, GalleryReader, GalleryVideos, Shard
from prvr_model.retrieval.gallery_format import MODEL_FOLDER, model_differences, model_of
from prvr_model.retrieval.ivf import InvertedFile
from prvr_model.retrieval.moments import Window

if TYPE_CHECKING:
    from prvr_model.extraction.encoder import FeatureEncoder

DEFAULT_TOP = 10
# Cached properties of a gallery that take seconds to load.
_MODELS = ("embedder", "encoder")


class Gallery:
    """An open gallery; it answers as it was when it was opened.

    Args:
        reader: The gallery's files.
        encoder: Folder or name of the encoder of sentences; None: the one that the recipe names.
        exact: Whether all videos are scored even if the gallery has an index.
    """

    def __init__(
        self, reader: GalleryReader, encoder: str | None = None, *, exact: bool = False
    ) -> None:
        self.reader = reader
        self._encoder_name = encoder
        has_index = reader.manifest.index is not None and not exact
        self._index = InvertedFile(reader) if has_index else None

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: str | Path | None = None,
        exact: bool = False,
        shard: Shard = WHOLE,
    ) -> Self:
        """Open the gallery in a folder.

        Args:
            path: The folder.
            encoder: Folder of the encoder's weights, where they are not in the cache.
            exact: Whether all videos are scored even if the gallery has an index.
            shard: The share of the videos that it answers with.

        Raises:
            GalleryError: There is no gallery, it is damaged, or it has an index and faiss is
                missing.
        """
        reader = GalleryReader.open(user_path(path), shard)
        return cls(reader, None if encoder is None else str(encoder), exact=exact)

    def query(self, sentence: str, *, top: int = DEFAULT_TOP, moments: int = 1) -> Answers:
        """The videos that fit a sentence best.

        Args:
            sentence: What is to be seen.
            top: Videos wanted.
            moments: Moments wanted of each video, the best and the next-best ones.

        Raises:
            QueryError: The sentence is empty, or a number is below 1.
            DataError: The encoder of sentences is not on this machine, or is not the one that made
                the gallery's features.
        """
        return self.query_all([sentence], top=top, moments=moments)[0]

    def query_all(
        self, sentences: Sequence[str], *, top: int = DEFAULT_TOP, moments: int = 1
    ) -> list[Answers]:
        """`query` for many sentences: the gallery's bytes are read once for some dozens of them."""
        found = self.search(self.embed(sentences), top=top, moments=moments)
        return [Answers(*pair) for pair in zip(sentences, found, strict=True)]

    def query_tokens(
        self, captions: Sequence[np.ndarray], *, top: int = DEFAULT_TOP, moments: int = 1
    ) -> list[Answers]:
        """Answers to sentences of which the token features are at hand.

        Args:
            captions: Token features of each sentence, (L, text_dim), as the foundation model gives
                them.
            top: Videos wanted.
            moments: Moments wanted of each video.

        Raises:
            StoreError: Features of another dimension than the model's.
        """
        found = self.search(self.embed_tokens(captions), top=top, moments=moments)
        return [Answers("", answers) for answers in found]

    def embed(self, sentences: Sequence[str]) -> np.ndarray:
        """Query vectors of sentences, (sentences, hidden) float32 of norm 1; raises as `query`."""
        for number, sentence in enumerate(sentences, 1):
            if not sentence.strip():
                raise QueryError(f"sentence {number} is empty; write what is to be seen")
        return self.embed_tokens(self.encoder.encode_captions(list(sentences)))

    def embed_tokens(self, captions: Sequence[np.ndarray]) -> np.ndarray:
        """Query vectors of token features; raises as `query_tokens`."""
        return self.embedder.embed_each(captions)

    def search(
        self, unit_queries: np.ndarray, *, top: int = DEFAULT_TOP, moments: int = 1
    ) -> list[tuple[Answer, ...]]:
        """Answers to query vectors, see `embed`."""
        for name, number in (("top", top), ("moments", moments)):
            if number < 1:
                raise QueryError(f"{name}: found {number}; allowed: 1 or more")
        if not self.reader.num_videos:
            return [() for _ in unit_queries]
        found = search_videos(self.reader, self._index, unit_queries, top, moments)
        return [answers for videos in found for answers in _answers(videos)]

    def take_models_of(self, other: Self) -> None:
        """Use what another version of this gallery has loaded, of the same model and recipe."""
        loaded = {name: other.__dict__[name] for name in _MODELS if name in other.__dict__}
        self.__dict__.update(loaded)

    @cached_property
    def embedder(self) -> CaptionEmbedder:
        """The model that the gallery is bound to, which it carries.

        Raises:
            GalleryError: Its files are not those that the gallery was made with.
        """
        folder = self.reader.path / MODEL_FOLDER
        bound = self.reader.manifest.model
        if differences := model_differences(bound, model_of(folder, bound.source)):
            raise GalleryError(
                f"{folder} is not the model that {self.reader.path} was made with "
                f"({'; '.join(differences)}); build the gallery again"
            )
        return CaptionEmbedder.load(folder)

    @cached_property
    def encoder(self) -> "FeatureEncoder":
        """The encoder of sentences, which must be the one that made the gallery's features.

        Raises:
            DataError: The gallery does not say which, its weights are not on this machine, or they
                are others.
        """
        from prvr_model.extraction.encoder import FeatureEncoder

        recipe = self.reader.manifest.recipe
        if recipe is None:
            raise GalleryError(
                f"{self.reader.path} does not say which encoder made its features, so no sentence "
                "can be encoded for it; ask with token features (--tokens FILE)"
            )
        try:
            encoder = FeatureEncoder.load(self._encoder_name or recipe.encoder)
        except DataError as error:
            raise GalleryError(f"{error}; --encoder FOLDER names the folder") from error
        if differences := recipe.differences(encoder.recipe(recipe.frames_per_second)):
            raise GalleryError(
                f"the encoder {self._encoder_name or recipe.encoder} is not the one that made the "
                f"features of {self.reader.path}: {'; '.join(differences)}"
            )
        return encoder


def _answers(found: FoundVideos) -> Iterator[tuple[Answer, ...]]:
    """The answers to each query."""
    about, moments = found.about, _moments(found.about, found.moments)
    for start in range(0, len(found.scores), found.top):
        yield tuple(
            Answer(
                rank=place - start + 1,
                video=about.names[place],
                video_id=about.ids[place],
                score=float(found.scores[place]),
                duration_s=_known(about.durations_s[place]),
                moments=moments[place],
                strip=tuple(found.strips[place].tolist()),
            )
            for place in range(start, start + found.top)
        )


def _moments(about: GalleryVideos, found: Sequence[Sequence[Window]]) -> list[tuple[Moment, ...]]:
    return [
        ()
        if np.isnan(duration)
        else tuple(Moment(entry.start_s, entry.end_s, entry.score) for entry in entries)
        for duration, entries in zip(about.durations_s, found, strict=True)
    ]


def _known(duration_s: float) -> float | None:
    return None if np.isnan(duration_s) else float(duration_s)
