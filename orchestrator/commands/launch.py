"""`prvr-sweep launch`: the main job."""

import sys
from pathlib import Path
from typing import Any

import click

from orchestrator.commands.options import (
    home_option,
    json_option,
    set_option,
    space_argument,
    storage_option,
    tracking_option,
)
from orchestrator.commands.outcome import show


@click.command()
@home_option
@storage_option
@tracking_option
@click.option(
    "--executor",
    type=click.Choice(["tune", "inline"]),
    default="tune",
    show_default=True,
    help="Ray Tune, or one trial after the other in this process (for debugging).",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    help="Run on a Ray cluster that is running, from one of its nodes; data, home or storage must "
    "be the same place on all of them. Default: a Ray of our own on this machine.",
)
@set_option
@json_option
@space_argument
def launch(
    space: Path,
    home: Path,
    storage: str | None,
    tracking_uri: str | None,
    executor: Any,  # noqa: ANN401  (click checks the choice)
    address: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run the sweep of SPACE (a YAML file) and register its best model.

    The plan and the progress go to stderr, the winner to stdout. Exit code 2: a trial fits
    nowhere, or the cluster cannot be used; 4: finished, but trials failed.
    """
    from orchestrator.launch import launch as run
    from orchestrator.places import Places
    from orchestrator.plan import plan_here, plan_on
    from orchestrator.plan_text import render
    from orchestrator.progress import StreamProgress
    from orchestrator.spec_loading import load_spec
    from orchestrator.tracking_store import TrackingStore

    if address is not None and executor == "inline":
        raise click.UsageError("--executor inline runs in this process; leave out --address")
    spec = load_spec(space, overrides)
    places = Places(home, storage, TrackingStore.of(tracking_uri, home))
    planned = plan_here(spec) if address is None else plan_on(spec, address, probe=False)
    click.echo(render(planned), err=True)
    click.echo(err=True)
    result = run(spec, places, StreamProgress(sys.stderr), executor, address)
    return show(result, places, spec.objective.metric, as_json=as_json)
