"""`prvr-sweep reproduce`: a trial once more, and whether the same comes out."""

import json
from pathlib import Path

import click

from orchestrator.commands.options import home_option, json_option, tracking_option

_DIFFERS = 1


@click.command()
@home_option
@tracking_option
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Only the first so many epochs. Default: all that were recorded.",
)
@click.option(
    "--keep",
    metavar="DIRECTORY",
    help="Keep checkpoints and ranks of this run there: an empty folder or a URI. Default: a "
    "temporary folder.",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    help="Run on a Ray cluster; needs --keep with a place that all its nodes see. Default: this "
    "machine.",
)
@json_option
@click.argument("trial", metavar="SWEEP/NUMBER|RUN_ID")
def reproduce(
    trial: str,
    home: Path,
    tracking_uri: str | None,
    epochs: int | None,
    keep: str | None,
    address: str | None,
    as_json: bool,
) -> int:
    """Run a trial of a sweep again, from its settings, data and seed, and compare each epoch.

    The trial is named by sweep and number, or by the id of its MLflow run. On a machine of the
    same kind all metrics must be equal bit for bit, elsewhere within a tolerance that is shown.
    Nothing of the sweep is changed. Exit code 1: it differs; 2: there is no such trial; 3: its
    data is gone or changed.
    """
    from orchestrator.commands.reproduction_text import render
    from orchestrator.sweep.reproduce import ReproduceRequest
    from orchestrator.sweep.reproduce import reproduce as run

    place = str(Path(keep).resolve()) if keep is not None and "://" not in keep else keep
    request = ReproduceRequest(trial, home, tracking_uri, epochs, place, address)
    found = run(request, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(found.to_dict()) if as_json else render(found))
    return 0 if found.is_reproduced else _DIFFERS
