"""What Ray Serve runs: one that encodes questions, and one for each share of the gallery.

A replica opens the gallery again when it is asked for a version that it does not have. It answers
with the version that it used: the gallery may change between two calls.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve

from orchestrator.base.errors import RayChangedError
from orchestrator.serving.answers import Answer
from orchestrator.serving.catalogue import FollowedGallery
from orchestrator.serving.questions import Asked
from prvr_model.errors import PrvrError
from prvr_model.retrieval.gallery import Shard

try:
    from ray.serve._private import replica
except ImportError as error:
    raise RayChangedError(str(error)) from error

_OWNER_ANSWERS_S = 30.0


@dataclass(frozen=True)
class Place:
    """Where the gallery and its encoder lie, on every node.

    Args:
        gallery: Folder of the gallery.
        encoder: Folder of the encoder's weights; None: the one that the gallery names.
    """

    gallery: Path
    encoder: Path | None = None


class Owner:
    """Lives as long as the process that serves; on a running cluster replicas would outlive it."""

    def ping(self) -> None:
        """Answers while it lives."""


def _listen_on_loopback() -> None:
    """Let a replica of a Ray of our own, which starts to listen after this, do so on loopback.

    Ray 2.60 has each listen on all addresses, for other replicas, and unpickles what it is sent.
    Ray's token keeps others out, but nobody on the network needs to knock.
    """
    name = "add_port_to_grpc_server"
    if not hasattr(replica, name):
        raise RayChangedError(f"ray.serve._private.replica.{name}")
    listen = getattr(replica, name)
    setattr(replica, name, lambda server, address: listen(server, "127.0.0.1:0"))


class _Replica:
    """Ends its application when the process that serves has died without doing so."""

    def __init__(self, app: str, owner: Any) -> None:  # noqa: ANN401  (Ray's handle)
        self._app, self._owner = app, owner
        if owner is None:
            _listen_on_loopback()

    async def check_health(self) -> None:
        """Ray Serve calls this every few seconds."""
        if self._owner is not None and await asyncio.to_thread(self._is_orphan):
            await asyncio.to_thread(serve.delete, self._app, _blocking=False)

    def _is_orphan(self) -> bool:
        try:
            ray.get(self._owner.ping.remote(), timeout=_OWNER_ANSWERS_S)
        except ray.exceptions.ActorDiedError:
            return True
        except ray.exceptions.RayError:
            return False
        return False


class QuestionEncoder(_Replica):
    """Encodes questions with the gallery's model and the encoder of sentences."""

    def __init__(self, place: Place, app: str, owner: Any = None) -> None:  # noqa: ANN401
        super().__init__(app, owner)
        self._gallery = FollowedGallery(place.gallery, place.encoder)
        # `prepare` says what is wrong; a replica that starts again loads before it is asked.
        with suppress(PrvrError):
            self._load(None)

    def prepare(self, version: str | None) -> tuple[str, str]:
        """Load a version of the gallery; returns which one, and what is wrong, if anything."""
        try:
            return self._load(version), ""
        except PrvrError as error:
            return "", str(error)

    def _load(self, version: str | None) -> str:
        version, gallery = self._gallery.at(version)
        _ = gallery.embedder
        if gallery.reader.manifest.recipe is not None:
            _ = gallery.encoder
        return version

    def embed(self, version: str, asked: Sequence[Asked]) -> tuple[str, np.ndarray]:
        """Query vectors of questions, (questions, hidden), and the version that they are for."""
        version, gallery = self._gallery.at(version)
        sentences = [question.query for question in asked if question.tokens is None]
        encoded = iter(gallery.encoder.encode_captions(sentences) if sentences else [])
        rows = [next(encoded) if question.tokens is None else question.tokens for question in asked]
        return version, gallery.embed_tokens(rows)


class GalleryShard(_Replica):
    """Searches a share of the gallery."""

    def __init__(
        self,
        place: Place,
        shard: Shard,
        app: str,
        owner: Any = None,  # noqa: ANN401
    ) -> None:
        super().__init__(app, owner)
        self._gallery = FollowedGallery(place.gallery, shard=shard)
        with suppress(PrvrError):
            self._gallery.at(None)

    def prepare(self, version: str | None) -> tuple[str, str]:
        """Open a version of the gallery; returns which one, and what is wrong, if anything."""
        try:
            return self._gallery.at(version)[0], ""
        except PrvrError as error:
            return "", str(error)

    def search(
        self, version: str, unit_queries: np.ndarray, top: int, moments: int
    ) -> tuple[str, list[tuple[Answer, ...]]]:
        """The best videos of this share for each query vector, and the version they are from."""
        version, gallery = self._gallery.at(version)
        return version, gallery.search(unit_queries, top=top, moments=moments)
