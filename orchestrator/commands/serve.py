"""`prvr-sweep serve`: a gallery answers over HTTP, with a page to ask it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from orchestrator.commands.options import USER_PATH, given_as


@dataclass(frozen=True)
class ServeOptions:
    """Options of `serve`; None: the default."""

    gallery: Path
    host: str
    port: int
    shards: int
    address: str | None
    videos: Path | None
    encoder: Path | None
    queue: int
    timeout: float


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; one that other machines reach takes the environment variable "
    "PRVR_SERVE_TOKEN, which clients must send.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 takes a free one.",
)
@click.option(
    "--shards",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes that search a share of the gallery each; on a cluster each takes a CPU.",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    help="Spread the shards over a running Ray cluster, from one of its nodes; the gallery must be "
    "at the same path on all nodes. Default: start a Ray on this machine.",
)
@click.option(
    "--videos",
    type=USER_PATH,
    metavar="DIR",
    help="Folder of the videos' files, named like the videos: the page plays them.",
)
@click.option(
    "--encoder",
    type=USER_PATH,
    metavar="FOLDER",
    help="Folder of the text encoder's weights. Default: the Hugging Face cache.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Queries that may wait; more are refused (503).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="A query that takes longer is given up (504).",
)
@click.argument("gallery", type=USER_PATH)
@given_as(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Answer sentences from GALLERY over HTTP, and show a page to ask it; Ctrl-C ends it.

    The address goes to stdout when it answers, a line of JSON for each request to stderr. A gallery
    that is changed meanwhile is followed.
    """
    from orchestrator.cluster.ray_environment import loading_ray

    with loading_ray():
        from orchestrator.serving.guards import log_line
        from orchestrator.serving.replicas import Place
        from orchestrator.serving.running import Service, serve_gallery
        from orchestrator.serving.service import Limits

    service = Service(
        place=Place(options.gallery.absolute(), options.encoder),
        host=options.host,
        port=options.port,
        shards=options.shards,
        address=options.address,
        videos=options.videos,
        limits=Limits(waiting=options.queue, seconds=options.timeout),
    )

    def log(**fields: Any) -> None:  # noqa: ANN401  (JSON)
        click.echo(log_line(**fields), err=True)

    # While Ray runs, what is printed goes to stderr.
    with os.fdopen(os.dup(1), "w") as result:
        serve_gallery(service, log, lambda address: _say(result, address))


def _say(result: Any, address: str) -> None:  # noqa: ANN401
    result.write(f"{address}\n")
    result.flush()
    click.echo("Ctrl-C ends it", err=True)
