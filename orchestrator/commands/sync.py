"""`prvr-sweep sync`: sends MLflow what it missed of a sweep."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.errors import NOT_TRACKED
from orchestrator.commands.options import (
    home_option,
    json_option,
    launched_tracking_option,
)

if TYPE_CHECKING:
    from orchestrator.sweep.sync import SyncResult


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
    from orchestrator.study.reader import begun_parts
    from orchestrator.sweep.sync import sync as send

    names = begun_parts(home, sweep)
    results = {
        name: send(name, home, tracking_uri, limit_s, lambda line: click.echo(line, err=True))
        for name in names
    }
    if as_json:
        fields = {name: asdict(result) for name, result in results.items()}
        whole = {"sweep": sweep, "parts": fields}
        click.echo(json.dumps(fields[sweep] if names == (sweep,) else whole))
    else:
        click.echo("\n".join(_line(name, result) for name, result in results.items()))
    whole_done = all(result.done and not result.problem for result in results.values())
    return 0 if whole_done else NOT_TRACKED


def _line(name: str, result: "SyncResult") -> str:
    if result.done and not result.problem:
        return f"{result.uri} has everything of {name}"
    lacks = result.problem or "time is up"
    return f"{result.uri} does not have everything of {name}: {lacks}"
