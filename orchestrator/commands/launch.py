"""`prvr-sweep launch`: the main job."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import (
    DEFAULT_HOME,
    home_as_given_option,
    json_option,
    quick_option,
    set_option,
    space_argument,
    storage_option,
    tracking_option,
)
from orchestrator.commands.outcome import FINISHED_WITH_FAILURES, show
from orchestrator.commands.space import space_spec

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


@click.command()
@home_as_given_option
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
@click.option(
    "--submit",
    metavar="URL",
    help="Send the sweep as a job to the cluster whose dashboard is at http://HOST:PORT, and say "
    "how to follow it; it goes on when this machine is gone. Paths are the cluster's.",
)
@quick_option
@set_option
@json_option
@space_argument
def launch(
    space: Path,
    home: str | None,
    storage: str | None,
    tracking_uri: str | None,
    executor: Any,  # noqa: ANN401  (click checks the choice)
    address: str | None,
    submit: str | None,
    quick: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run the sweep of SPACE (a YAML file) and register its best model.

    The plan and the progress go to stderr, the winner to stdout. Exit code 2: a trial fits
    nowhere, or the cluster cannot be used; 4: finished, but trials failed.
    """
    if (address is not None or submit is not None) and executor == "inline":
        raise click.UsageError(
            "--executor inline runs in this process; leave out --address and --submit"
        )
    if submit is not None:
        if address is not None:
            raise click.UsageError("a job finds its own cluster; leave out --address or --submit")
        spec = space_spec(space, overrides, quick=quick, runs_elsewhere=True)
        return _submit(submit, spec, home, storage, tracking_uri, as_json)
    here = Path(home or DEFAULT_HOME).resolve()
    spec = space_spec(space, overrides, quick=quick)
    return _launch(spec, here, storage, tracking_uri, executor, address, as_json)


def _submit(
    url: str,
    spec: "SweepSpec",
    home: str | None,
    storage: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> int:
    from orchestrator.commands import submission_text
    from orchestrator.sweep.submit import REMOTE_HOME, RemoteLocations
    from orchestrator.sweep.submit import submit as send

    places = RemoteLocations(home or REMOTE_HOME, storage, tracking_uri)
    sent = send(url, spec, places, as_json)
    if as_json:
        click.echo(json.dumps(submission_text.summary(sent)))
    else:
        click.echo(submission_text.render(sent))
    return sent.job.exit_code if sent.job.exit_code == FINISHED_WITH_FAILURES else 0


def _launch(
    spec: "SweepSpec",
    home: Path,
    storage: str | None,
    tracking_uri: str | None,
    executor: Any,  # noqa: ANN401  (click checks the choice)
    address: str | None,
    as_json: bool,
) -> int:
    from orchestrator.commands.plan_text import render_plan
    from orchestrator.preflight.already_trained import known_runs
    from orchestrator.preflight.plan import plan_here, plan_on
    from orchestrator.sweep.launch import launch as run
    from orchestrator.sweep.locations import SweepLocations
    from orchestrator.sweep.progress import progress_on
    from orchestrator.tracking.store import TrackingStore

    places = SweepLocations(home, storage, TrackingStore.of(tracking_uri, home))
    known = known_runs(spec, home, storage)
    if address is None:
        planned = plan_here(spec, known=known)
    else:
        planned = plan_on(spec, address, probe=False, known=known)
    click.echo(render_plan(planned), err=True)
    click.echo(err=True)
    result = run(spec, places, progress_on(sys.stderr), executor, address)
    return show(result, places, spec, as_json=as_json)
