"""Runs the service from its start to Ctrl-C: port, Ray, replicas, HTTP."""

import asyncio
import ipaddress
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from orchestrator.base.errors import ServeError
from orchestrator.base.machine import available_cpus
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.ray_session import attached_ray, own_ray
from orchestrator.serving.catalogue import Catalogue
from orchestrator.serving.guards import LOOPBACK, Access, Log
from orchestrator.serving.replicas import Place
from orchestrator.serving.service import Limits, Surroundings, make_app
from orchestrator.serving.shards import Spread, deployed

TOKEN_VARIABLE = "PRVR_SERVE_TOKEN"
# What a cookie and a header take as it is; shorter ones can be guessed.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")
# Clients that wait get their answers first.
_GRACE_S = 10
_QUEUED_CONNECTIONS = 2048


@dataclass(frozen=True)
class Service:
    """What to serve, and where.

    Args:
        place: The gallery and its encoder.
        host: Address to listen on.
        port: Port; 0: any free one.
        shards: Shares of the gallery.
        address: Running Ray cluster, `auto` or HOST:PORT; None: a Ray of our own.
        videos: Folder of the videos' files; None: there are none.
        limits: What a client may ask for.
    """

    place: Place
    host: str = "127.0.0.1"
    port: int = 8000
    shards: int = 1
    address: str | None = None
    videos: Path | None = None
    limits: Limits = field(default_factory=Limits)


def serve_gallery(service: Service, log: Log, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal comes; what was accepted is answered first.

    Args:
        service: What to serve.
        log: Takes what happens.
        on_ready: Takes the address when the service answers.

    Raises:
        ServeError: The address cannot be used, or lacks a token.
        GalleryError: The gallery cannot be searched.
        RayFailedError: Ray does not start.
        ClusterError: The cluster cannot be used.
    """
    access = access_to(service.host, os.environ.get(TOKEN_VARIABLE))
    if service.videos is not None and not service.videos.is_dir():
        raise ServeError(f"--videos: there is no folder {service.videos}")
    catalogue = Catalogue.open(service.place.gallery)
    with (
        _listening(service.host, service.port) as listener,
        Interruption().listening() as interruption,
        _ray(service, interruption),
    ):
        with interruption.at_once():
            replicas = deployed(service.place, _spread(service))
            search = replicas.__enter__()
        try:
            with interruption.at_once():
                asyncio.run(search.prepare(catalogue.version))
            parts = Surroundings(catalogue, search, access, log, service.limits, service.videos)
            _run(parts, listener, lambda: on_ready(_address(listener, service.host)))
        finally:
            replicas.__exit__(None, None, None)


def access_to(host: str, token: str | None) -> Access:
    """Who may ask a service that listens on an address.

    Raises:
        ServeError: Others reach it and there is no token, or the token is weak.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise ServeError(
            f"{TOKEN_VARIABLE}: found {len(token)} characters; wanted 16 or more letters, digits "
            "and . _ ~ -, e.g. of `openssl rand -hex 32`"
        )
    if _is_loopback(host):
        return Access(token, LOOPBACK)
    if token is None:
        raise ServeError(
            f"--host {host} is reached from other machines: set {TOKEN_VARIABLE} to a secret of 16 "
            "or more characters, which every client must send, or leave out --host"
        )
    return Access(token, None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens: a port that is taken is told before anything starts."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_QUEUED_CONNECTIONS)
    except OSError as error:
        raise ServeError(
            f"port {port} on {host} cannot be used ({error.strerror}); choose another with --port"
        ) from error
    with listener:
        yield listener


def _address(listener: socket.socket, host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


@contextmanager
def _ray(service: Service, interruption: Interruption) -> Iterator[None]:
    if service.address is not None:
        with attached_ray(service.address, 1, interruption):
            yield
        return
    # Shards are asked at the same time; the encoder works before them.
    threads = max(1, available_cpus() // service.shards)
    with own_ray(threads, (), interruption):
        yield


def _spread(service: Service) -> Spread:
    is_own = service.address is None
    return Spread(service.shards, cpus_each=0 if is_own else 1, ends_with_us=is_own)


def _run(parts: Surroundings, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    # It logs what `make_app` logs in one line, with a traceback.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    app = make_app(parts)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config, on_ready)
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()
