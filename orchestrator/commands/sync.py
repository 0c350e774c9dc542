"""`prvr-sweep sync`: sends MLflow what it missed of a sweep."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from orchestrator.base.errors import NOT_TRACKED
from orchestrator.commands.options import (
    home_option,
    json_option,
    launched_tracking_option,
)


@click.command()
@home_option
@launched_tracking_option
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(min=1.0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to keep trying if MLflow is slow or unreachable.",
)
@json_option
@click.argument("sweep")
def sync(sweep: str, home: Path, tracking_uri: str | None, limit_s: float, as_json: bool) -> int:
    """Send MLflow what it missed of SWEEP; restore what was deleted there, or make it again.

    Exit code 1: MLflow does not have everything; the rest is kept for the next sync.
    """
    from orchestrator.sweep.sync import sync as send

    result = send(sweep, home, tracking_uri, limit_s, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(asdict(result)))
    elif result.done and not result.problem:
        click.echo(f"{result.uri} has everything of {sweep}")
    else:
        click.echo(f"{result.uri} does not have everything: {result.problem or 'time is up'}")
    return 0 if result.done and not result.problem else NOT_TRACKED
