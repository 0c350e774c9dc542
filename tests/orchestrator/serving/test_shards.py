"""Merging and asking again, with replicas that are plain objects."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from orchestrator.serving.answers import Answer
from orchestrator.serving.gallery import Gallery
from orchestrator.serving.questions import Asked
from orchestrator.serving.shards import ShardedGallery
from prvr_model.errors import GalleryError
from prvr_model.retrieval.gallery import WHOLE, Shard
from tests.orchestrator.serving.served_galleries import NAMES, sentence_gallery


class Method:
    """What a handle of Ray Serve has for each method of a replica."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer

    async def remote(self, *arguments: Any) -> Any:  # noqa: ANN401
        return self._answer(*arguments)


class Encoder:
    """An encoder of a gallery in this process."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self.embed, self.prepare = Method(self._embed), Method(lambda version: ("1", ""))

    def _embed(self, version: str, asked: Sequence[Asked]) -> tuple[str, np.ndarray]:
        return version, self._gallery.embed([question.query for question in asked])


class Share:
    """A shard in this process that sees the versions that it is told to see, and may die."""

    def __init__(self, gallery: Gallery, versions: Sequence[str] = (), deaths: int = 0) -> None:
        self._gallery, self._versions, self._deaths = gallery, [*versions], deaths
        self.problem = ""
        self.search = Method(self._search)
        self.prepare = Method(lambda version: ("1", self.problem))

    def _search(self, version: str, vectors: np.ndarray, top: int, moments: int) -> Any:  # noqa: ANN401
        if self._deaths:
            self._deaths -= 1
            raise ray.exceptions.ActorDiedError
        used = self._versions.pop(0) if self._versions else version
        return used, self._gallery.search(vectors, top=top, moments=moments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards")
    sentence_gallery(path, NAMES)
    return path


def opened(folder: Path, shard: Shard = WHOLE) -> Gallery:
    return Gallery.open(folder / "my.gallery", encoder=folder / "encoder", shard=shard)


def test_questions_of_different_sizes_share_a_batch(folder: Path) -> None:
    whole = opened(folder)
    shards = [Share(opened(folder, Shard(number, 3))) for number in range(3)]
    asked = [Asked("a dog"), Asked("a cat", top=2, moments=3), Asked("rain", top=50, moments=2)]
    found = asyncio.run(ShardedGallery(Encoder(whole), shards).answers("1", asked))
    for question, answers in zip(asked, found, strict=True):
        wanted = whole.query(question.query, top=question.top, moments=question.moments)
        assert_same(answers, wanted.answers)


def assert_same(answers: Sequence[Answer], wanted: Sequence[Answer]) -> None:
    """The same videos and moments; the last bits of sums depend on what is multiplied together."""
    for answer, expected in zip(answers, wanted, strict=True):
        assert (answer.rank, answer.video_id) == (expected.rank, expected.video_id)
        assert answer.score == pytest.approx(expected.score, abs=1e-5)
        for moment, known in zip(answer.moments, expected.moments, strict=True):
            assert (moment.start_s, moment.end_s) == (known.start_s, known.end_s)


def test_a_call_is_sent_again_once(folder: Path) -> None:
    retries: list[int] = []
    whole = opened(folder)

    def answers(deaths: int) -> Any:  # noqa: ANN401
        sharded = ShardedGallery(Encoder(whole), [Share(whole, deaths=deaths)])
        sharded.on_retry = lambda: retries.append(1)
        return asyncio.run(sharded.answers("1", [Asked("a dog")]))

    assert_same(answers(1)[0], whole.query("a dog").answers)
    assert len(retries) == 1
    with pytest.raises(ray.exceptions.ActorDiedError):
        answers(2)


def test_versions_are_never_mixed(folder: Path) -> None:
    whole = opened(folder)
    halves = [opened(folder, Shard(number, 2)) for number in range(2)]
    shards = [Share(halves[0]), Share(halves[1], versions=["2"])]
    asked = [Asked("a dog")]
    sharded = ShardedGallery(Encoder(whole), shards)
    assert_same(asyncio.run(sharded.answers("1", asked))[0], whole.query("a dog").answers)
    restless = [Share(halves[0]), Share(halves[1], versions="23456789")]
    with pytest.raises(GalleryError, match="changes faster than it can be searched"):
        asyncio.run(ShardedGallery(Encoder(whole), restless).answers("1", asked))


def test_what_a_replica_lacks_is_told(folder: Path) -> None:
    share = Share(opened(folder))
    share.problem = "the encoder is not on this machine"
    sharded = ShardedGallery(Encoder(opened(folder)), [share])
    with pytest.raises(GalleryError, match="the encoder is not on this machine"):
        asyncio.run(sharded.prepare(None))
