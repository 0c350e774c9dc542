"""A gallery that is searched by replicas of Ray Serve: asks them, asks again, and merges.

A question goes to the encoder, then to all shards, whose best videos merge to those of the whole
gallery. A call whose replica died is sent once more; Ray Serve starts the replica anew meanwhile.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import serve

from orchestrator.serving.answers import Answer, merged
from orchestrator.serving.questions import Asked
from orchestrator.serving.replicas import GalleryShard, Owner, Place, QuestionEncoder
from prvr_model.errors import GalleryError
from prvr_model.retrieval.gallery import Shard

# The gallery would have to change this often within one question.
_TRIES = 4
_CONTROLLER = "SERVE_CONTROLLER_ACTOR"
# Health is asked for at this interval: so long may a dead replica go unnoticed.
_HEALTH_EVERY_S = 1.0
# A replica that searches does not answer meanwhile.
_HEALTH_LIMIT_S = 120.0
_CALLS_AT_ONCE = 16
_QUIET_LOGS = {"log_level": "ERROR", "enable_access_log": False}


@dataclass(frozen=True)
class Spread:
    """How a gallery is spread.

    Args:
        shards: Number of shares.
        cpus_each: CPUs that each replica takes of a cluster; 0 on a Ray of our own.
        ends_with_us: Whether Ray itself ends with this process.
    """

    shards: int = 1
    cpus_each: float = 0
    ends_with_us: bool = True


class ShardedGallery:
    """Handles of the replicas, see `deployed`.

    Args:
        encoder: Of the encoder.
        shards: Of each shard.
    """

    def __init__(
        self,
        encoder: Any,  # noqa: ANN401  (Ray is not typed)
        shards: Sequence[Any],
    ) -> None:
        self._encoder, self._shards = encoder, tuple(shards)
        self.on_retry: Callable[[], None] = lambda: None

    async def prepare(self, version: str | None) -> None:
        """Have every shard open a version of the gallery, or the newest.

        Raises:
            GalleryError: One cannot.
        """
        replicas = (self._encoder, *self._shards)
        found = await asyncio.gather(*(self._ask(replica.prepare, version) for replica in replicas))
        if problems := [problem for _, problem in found if problem]:
            raise GalleryError(problems[0])

    async def answers(self, version: str, asked: Sequence[Asked]) -> list[tuple[Answer, ...]]:
        """The best videos for each question, all from one version of the gallery.

        Args:
            version: The one that is known to be the newest.
            asked: The questions.

        Raises:
            GalleryError: The gallery changes without end.
        """
        top = max(question.top for question in asked)
        moments = max(question.moments for question in asked)
        for _ in range(_TRIES):
            version, vectors = await self._ask(self._encoder.embed, version, asked)
            found = await asyncio.gather(
                *(self._ask(shard.search, version, vectors, top, moments) for shard in self._shards)
            )
            if others := {used for used, _ in found} - {version}:
                version = others.pop()
                continue
            lists = zip(*(answers for _, answers in found), strict=True)
            pairs = zip(asked, lists, strict=True)
            return [_cut(merged(parts, question.top), question) for question, parts in pairs]
        raise GalleryError("the gallery changes faster than it can be searched")

    async def _ask(self, method: Any, *arguments: Any) -> Any:  # noqa: ANN401  (Ray's handles)
        try:
            try:
                return await method.remote(*arguments)
            except ray.exceptions.RayActorError:
                self.on_retry()
                return await method.remote(*arguments)
        except ray.exceptions.RayTaskError as error:
            # Ray's own has a traceback for a message.
            raise error.cause from None


def _cut(answers: Sequence[Answer], asked: Asked) -> tuple[Answer, ...]:
    return tuple(replace(answer, moments=answer.moments[: asked.moments]) for answer in answers)


@contextmanager
def deployed(place: Place, spread: Spread) -> Iterator[ShardedGallery]:
    """Start the replicas on the attached Ray; they end with the block."""
    app = f"prvr-{uuid.uuid4().hex[:8]}"
    has_serve = any(
        actor["name"] == _CONTROLLER for actor in ray.util.list_named_actors(all_namespaces=True)
    )
    serve.start(proxy_location="Disabled", logging_config=_QUIET_LOGS)
    owner = None if spread.ends_with_us else ray.remote(num_cpus=0)(Owner).remote()
    names = [app, *(f"{app}-{number}" for number in range(spread.shards))]
    try:
        yield ShardedGallery(*_run(place, spread, names, owner))
    finally:
        # What ends with its Ray needs no farewell, which takes seconds.
        if not spread.ends_with_us:
            for name in names:
                serve.delete(name)
            if not has_serve and not serve.status().applications:
                serve.shutdown()


def _run(
    place: Place, spread: Spread, names: Sequence[str], owner: object
) -> tuple[Any, list[Any]]:
    encoder, *shards = names
    bound = {encoder: _deployment(QuestionEncoder, spread).bind(place, encoder, owner)}
    for number, name in enumerate(shards):
        shard = Shard(number, spread.shards)
        bound[name] = _deployment(GalleryShard, spread).bind(place, shard, name, owner)
    first, *others = serve.run_many(
        [
            serve.RunTarget(app, name=name, route_prefix=None, logging_config=_QUIET_LOGS)
            for name, app in bound.items()
        ]
    )
    return first, others


def _deployment(replica: type, spread: Spread) -> Any:  # noqa: ANN401  (Ray is not typed)
    return serve.deployment(
        replica,
        num_replicas=1,
        ray_actor_options={"num_cpus": spread.cpus_each},
        max_ongoing_requests=_CALLS_AT_ONCE,
        health_check_period_s=_HEALTH_EVERY_S,
        health_check_timeout_s=_HEALTH_LIMIT_S,
        graceful_shutdown_timeout_s=2.0,
        graceful_shutdown_wait_loop_s=0.1,
    )
