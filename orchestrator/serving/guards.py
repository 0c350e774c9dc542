"""What every request passes: its token, the limit of its size, the log and the measures."""

import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.serving.measures import Measures

TOKEN_COOKIE = "prvr_token"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# The pages hold nothing of the gallery, and a health check has no token.
_OPEN_PATHS = ("/", "/docs", "/openapi.json", "/healthz")
_BEARER = "bearer "


class Log(Protocol):
    """Takes the fields of an event."""

    def __call__(self, **fields: Any) -> None:  # noqa: ANN401
        """Write them."""


@dataclass(frozen=True)
class Access:
    """What a request must show.

    Args:
        token: What a client must send, as a bearer or a cookie; None: nothing.
        hosts: Names by which the service may be addressed; None: any. On loopback this keeps pages
            of other sites out, which can point a name of theirs at 127.0.0.1.
    """

    token: str | None = None
    hosts: Sequence[str] | None = LOOPBACK

    def refusal(self, path: str, headers: Headers) -> tuple[int, str] | None:
        """Status and reason why a request is refused; None: it is not."""
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self.hosts is not None and name not in self.hosts:
            return 421, f"the service is not reached as {name!r}; allowed: {', '.join(self.hosts)}"
        if self.token is None or path in _OPEN_PATHS or self._is_told(headers):
            return None
        return 401, "send the token of PRVR_SERVE_TOKEN: Authorization: Bearer TOKEN"

    def _is_told(self, headers: Headers) -> bool:
        given = headers.get("authorization", "")
        told = [given[len(_BEARER) :]] if given[: len(_BEARER)].lower() == _BEARER else []
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(TOKEN_COOKIE)
        except CookieError:
            cookie = None
        if cookie is not None:
            told.append(cookie.value)
        token = (self.token or "").encode()
        return any(hmac.compare_digest(value.encode(), token) for value in told)


class Guard:
    """Middleware: refuses, limits, logs and measures.

    Args:
        app: What answers.
        access: Who may ask.
        body_bytes: Largest body of a request.
        log: Takes a line for each request.
        measures: Takes its time.
    """

    def __init__(
        self, app: ASGIApp, access: Access, body_bytes: int, log: Log, measures: Measures
    ) -> None:
        self._app, self._access, self._body_bytes = app, access, body_bytes
        self._log, self._measures = log, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, sent)
        finally:
            self._told(scope, status, time.monotonic() - start)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refused = self._access.refusal(scope["path"], headers)
        told = headers.get("content-length", "0")
        if refused is None and told.isdecimal() and int(told) > self._body_bytes:
            refused = 413, self._too_large()
        if refused is None:
            await self._app(scope, self._limited(receive), send)
        else:
            await JSONResponse({"detail": refused[1]}, refused[0])(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        """A body may come in pieces, without its length."""
        left = self._body_bytes

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, self._too_large())
            return message

        return limited

    def _too_large(self) -> str:
        return f"a request may have {self._body_bytes} bytes"

    def _told(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._measures.request(scope["method"], route, status, seconds)
        self._log(
            event="request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            client=(scope.get("client") or ("",))[0],
        )


def log_line(**fields: Any) -> str:  # noqa: ANN401
    """An event as a line of JSON, with its time; a sentence that was asked is never among it."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"time": now, **fields})
