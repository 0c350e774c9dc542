"""The service's HTTP: questions, videos of a gallery, health, metrics and the page.

It runs in the process of `prvr-sweep serve`, not in a proxy of Ray Serve: so it listens where the
user is, survives the death of any replica, and knows all questions that wait.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import quote

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestrator.base.our_code import SERVICE_PAGES
from orchestrator.base.text import error_line
from orchestrator.serving.answers import Answer
from orchestrator.serving.batching import Batches, BusyError
from orchestrator.serving.catalogue import Catalogue
from orchestrator.serving.guards import Access, Guard, Log
from orchestrator.serving.measures import Measures
from orchestrator.serving.questions import Asked
from orchestrator.serving.video_files import VideoFiles
from prvr_model.errors import PrvrError

# A replica that is busy with a search answers after it.
_HEALTH_S = 10.0
_LOOK_EVERY_S = 1.0
_LONGEST_SENTENCE, _MOST_TOKENS, _MOST_VIDEOS, _MOST_MOMENTS = 1000, 512, 100, 20
# Digits of scores that a page can show.
_STRIP_DIGITS = 4
# The pages hold all that they need; no name of a video makes them load or send anything else.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
_FILE_HEADERS = {"X-Content-Type-Options": "nosniff"}


class GallerySearch(Protocol):
    """What answers questions; see `ShardedGallery`. It calls `on_retry` for each second try."""

    on_retry: Callable[[], None]

    async def answers(self, version: str, asked: Sequence[Asked]) -> list[tuple[Answer, ...]]:
        """The best videos for each question."""

    async def prepare(self, version: str | None) -> None:
        """Have a version of the gallery opened."""


@dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Args:
        waiting: Questions that may wait or be under way.
        seconds: Time for a question.
        body_bytes: Size of a request.
    """

    waiting: int = 256
    seconds: float = 30.0
    body_bytes: int = 2**20


class Question(BaseModel):
    """A sentence, or its token features."""

    model_config = ConfigDict(extra="forbid")

    query: str | None = Field(
        default=None, max_length=_LONGEST_SENTENCE, description="What is to be seen."
    )
    tokens: list[list[Annotated[float, Field(allow_inf_nan=False)]]] | None = Field(
        default=None,
        min_length=1,
        max_length=_MOST_TOKENS,
        description="In place of a sentence: its token features, (length, dimension).",
    )
    top: int = Field(default=10, ge=1, le=_MOST_VIDEOS, description="Videos wanted.")
    moments: int = Field(default=1, ge=1, le=_MOST_MOMENTS, description="Moments of each video.")
    strip: bool = Field(default=False, description="Whether to send scores along each video.")

    @field_validator("query")
    @classmethod
    def _some_words(cls, query: str | None) -> str | None:
        if query is not None and not query.strip():
            raise ValueError("the sentence is empty; write what is to be seen")
        return query

    @model_validator(mode="after")
    def _either(self) -> "Question":
        if (self.query is None) == (self.tokens is None):
            raise ValueError("give one of query and tokens")
        return self


class FoundMoment(BaseModel):
    """A span of a video that may show what a query says."""

    start_s: float
    end_s: float
    score: float


class FoundVideo(BaseModel):
    """A video that a query found; seconds are null where times are not known."""

    rank: int
    video: str
    score: float
    start_s: float | None
    end_s: float | None
    moments: list[FoundMoment]
    duration_s: float | None
    video_url: str | None
    thumbnail_url: str | None
    strip: list[float] | None = Field(description="Scores of places evenly spread over the video.")


class Found(BaseModel):
    """The videos that fit a query best."""

    query: str | None
    answers: list[FoundVideo]


class Health(BaseModel):
    """Whether the service answers, and from what."""

    status: str
    videos: int
    revision: int
    model: str
    takes_sentences: bool


class Refusal(BaseModel):
    """What is wrong, in a sentence."""

    detail: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "The token is missing or wrong."},
    413: {"model": Refusal, "description": "The request is too large."},
    422: {"model": Refusal, "description": "The question is no valid one."},
    500: {"model": Refusal, "description": "The gallery cannot be searched; the log says why."},
    503: {"model": Refusal, "description": "Too many questions wait; ask again in a second."},
    504: {"model": Refusal, "description": "The answer took too long."},
}


class _Service:
    def __init__(
        self, catalogue: Catalogue, search: GallerySearch, files: VideoFiles | None, limits: Limits
    ) -> None:
        self._catalogue, self._search, self._files = catalogue, search, files
        self._limits = limits
        self.measures = Measures(lambda: self._batches.num_open, catalogue)
        search.on_retry = self.measures.retry
        self._batches = Batches(self._answers, limits.waiting, self.measures.batch)

    async def _answers(self, asked: Sequence[Asked]) -> list[tuple[Answer, ...]]:
        return await self._search.answers(self._catalogue.version, asked)

    async def query(self, question: Question) -> Found:
        asked = self._asked(question)
        try:
            async with asyncio.timeout(self._limits.seconds):
                answers = await self._batches.ask(asked)
        except BusyError:
            text = f"{self._limits.waiting} questions wait already; ask again in a second"
            raise HTTPException(503, text, {"Retry-After": "1"}) from None
        except TimeoutError:
            text = f"no answer within {self._limits.seconds:g} s"
            raise HTTPException(504, text) from None
        found = [self._found(answer, question) for answer in answers]
        return Found(query=question.query, answers=found)

    def _asked(self, question: Question) -> Asked:
        manifest = self._catalogue.manifest
        if question.tokens is None:
            if manifest.recipe is None:
                raise HTTPException(
                    422,
                    "the gallery does not say which encoder made its features, so no sentence can "
                    "be encoded for it; send token features (tokens)",
                )
            return Asked(question.query or "", None, question.top, question.moments)
        wanted = manifest.model.text_dim
        if found := {len(row) for row in question.tokens} - {wanted}:
            raise HTTPException(
                422, f"tokens: found rows of {min(found)} values; the model takes {wanted}"
            )
        # Finite numbers may be too large for float32, and a row of zeros has no direction.
        with np.errstate(over="ignore"):
            tokens = np.array(question.tokens, np.float32)
        if not np.isfinite(tokens).all() or not tokens.any(axis=1).all():
            raise HTTPException(422, "tokens: found a row of zeros, or numbers beyond float32")
        return Asked("", tokens, question.top, question.moments)

    def _found(self, answer: Answer, question: Question) -> FoundVideo:
        has_file = self._files is not None and self._files.find(answer.video) is not None
        has_thumbnail = self._catalogue.thumbnail(answer.video_id) is not None
        return FoundVideo(
            **answer.to_dict(),
            duration_s=answer.duration_s,
            video_url=f"videos/{quote(answer.video)}" if has_file else None,
            thumbnail_url=f"thumbnails/{answer.video_id}" if has_thumbnail else None,
            strip=_rounded(answer.strip) if question.strip else None,
        )

    def video(self, name: str) -> FileResponse:
        file = self._files.find(name) if self._files is not None else None
        if file is None:
            raise HTTPException(404, "there is no file of a video of this name")
        return FileResponse(file.path, media_type=file.media_type, headers=_FILE_HEADERS)

    def thumbnail(self, video_id: int) -> Response:
        found = self._catalogue.thumbnail(video_id)
        if found is None:
            raise HTTPException(404, "there is no thumbnail of a video of this number")
        return Response(found, media_type="image/jpeg", headers=_FILE_HEADERS)

    async def health(self) -> tuple[int, Health]:
        manifest = self._catalogue.manifest
        status = "ok"
        try:
            async with asyncio.timeout(_HEALTH_S):
                await self._search.prepare(self._catalogue.version)
        except Exception as error:  # noqa: BLE001  (whatever it is, the service does not answer)
            status = f"the gallery cannot be searched: {error_line(error)}"
        return (200 if status == "ok" else 503), Health(
            status=status,
            videos=manifest.num_videos,
            revision=manifest.revision,
            model=manifest.model.source,
            takes_sentences=manifest.recipe is not None,
        )

    async def follow(self, log: Log) -> None:
        """Open each new version of the gallery, for as long as the service runs."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                if await asyncio.to_thread(self._catalogue.refresh):
                    await self._search.prepare(self._catalogue.version)
                    manifest = self._catalogue.manifest
                    log(event="gallery", revision=manifest.revision, videos=manifest.num_videos)
            except Exception as error:  # noqa: BLE001  (the version before goes on answering)
                log(event="gallery", problem=error_line(error))


def _rounded(strip: Sequence[float]) -> list[float]:
    return [round(score, _STRIP_DIGITS) for score in strip]


@dataclass(frozen=True)
class Surroundings:
    """What a service works with.

    Args:
        catalogue: The gallery.
        search: What searches it.
        access: Who may ask.
        log: Takes what happens.
        limits: What a client may ask for.
        videos: Folder of the videos' files; None: there are none.
    """

    catalogue: Catalogue
    search: GallerySearch
    access: Access
    log: Log
    limits: Limits = Limits()
    videos: Path | None = None


def make_app(parts: Surroundings) -> FastAPI:
    """The service as an application for an HTTP server."""
    catalogue = parts.catalogue
    files = None if parts.videos is None else VideoFiles(parts.videos, catalogue.holds)
    service = _Service(catalogue, parts.search, files, parts.limits)

    @asynccontextmanager
    async def following(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.follow(parts.log))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(
        title="prvr-sweep serve",
        summary="Finds videos, and the seconds in them, that a sentence describes.",
        docs_url=None,
        redoc_url=None,
        lifespan=following,
    )
    app.add_middleware(
        Guard,
        access=parts.access,
        body_bytes=parts.limits.body_bytes,
        log=parts.log,
        measures=service.measures,
    )
    _add_routes(app, service)
    _add_pages(app)
    _add_problems(app, parts.log)
    return app


def _add_routes(app: FastAPI, service: _Service) -> None:
    _add_file_routes(app, service)

    @app.post("/query", responses=_PROBLEMS, response_model=Found)
    async def query(question: Question) -> Response:
        """Rank the videos of the gallery by how well a moment of each fits a sentence."""
        found = await service.query(question)
        # As text: a model that is returned would be checked and copied once more.
        return Response(found.model_dump_json(), media_type="application/json")

    @app.get("/healthz", responses={503: {"model": Health}})
    async def healthz(response: Response) -> Health:
        """Whether every shard answers."""
        response.status_code, health = await service.health()
        return health

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Counts and times in Prometheus' text format."""
        return service.measures.response()


def _add_file_routes(app: FastAPI, service: _Service) -> None:
    @app.head("/videos/{name:path}", include_in_schema=False)
    @app.get("/videos/{name:path}", response_class=FileResponse)
    def video(name: str) -> FileResponse:
        """The file of a video; takes a Range."""
        return service.video(name)

    @app.get("/thumbnails/{video_id}", response_class=Response)
    def thumbnail(video_id: int) -> Response:
        """A picture of a video, JPEG."""
        return service.thumbnail(video_id)


def _add_pages(app: FastAPI) -> None:
    for address, name in (("/", "search.html"), ("/docs", "docs.html")):
        text = (SERVICE_PAGES / name).read_text(encoding="utf-8")
        page = HTMLResponse(text, headers=_PAGE_HEADERS)
        app.add_api_route(address, lambda page=page: page, include_in_schema=False)


def _add_problems(app: FastAPI, log: Log) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": "; ".join(map(_in_words, error.errors()))}, 422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        text = str(error) if isinstance(error, PrvrError) else error_line(error)
        log(event="failed", path=request.url.path, problem=text)
        return JSONResponse({"detail": "the gallery cannot be searched; the log says why"}, 500)


def _in_words(problem: dict[str, Any]) -> str:
    place = ".".join(map(str, problem["loc"][1:]))
    text = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text
