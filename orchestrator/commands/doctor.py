"""`prvr-sweep doctor`: checks for common problems before a sweep runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import (
    USER_LOCATION,
    USER_PATH,
    home_option,
    json_option,
    tracking_option,
)

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


@click.command()
@home_option
@click.option(
    "--storage",
    type=USER_LOCATION,
    metavar="URI",
    help="Where trial folders will go; default: the home.",
)
@tracking_option
@click.option("--address", metavar="auto|HOST:PORT", help="A running Ray cluster.")
@json_option
@click.argument("space", type=USER_PATH, required=False)
def doctor(
    space: Path | None,
    home: Path,
    storage: str | None,
    tracking_uri: str | None,
    address: str | None,
    as_json: bool,
) -> int:
    """Check this machine, and SPACE (a YAML file) if given, before a sweep runs.

    Checks versions, home and storage, tracking store and databases, ports, GPUs and, with
    --address, the cluster and its nodes; of SPACE whether each of its data sets is there and its
    trials fit. Names a remedy for each problem. Exit code 1: there is a
    problem.
    """
    from orchestrator.preflight.doctor import examine

    specs = () if space is None else _specs(space)
    found = examine(home, storage, tracking_uri, address, specs)
    click.echo(json.dumps(found.to_dict()) if as_json else found.render())
    return found.exit_code


def _specs(space: Path) -> "tuple[SweepSpec, ...]":
    """The sweep of a file; of several data sets the sweep of each."""
    from orchestrator.joint.plan import planned_parts
    from orchestrator.spec.joint import JointSpec
    from orchestrator.spec.loading import load_any

    spec = load_any(space)
    return tuple(planned_parts(spec).values()) if isinstance(spec, JointSpec) else (spec,)
