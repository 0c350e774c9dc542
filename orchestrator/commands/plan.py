"""`prvr-sweep plan`: what a sweep will do, before anything starts."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import (
    given_as,
    home_option,
    json_option,
    quick_option,
    set_option,
    space_argument,
    storage_option,
)
from orchestrator.commands.space import space_spec

if TYPE_CHECKING:
    from orchestrator.spec.joint import JointSpec


@dataclass(frozen=True)
class PlanOptions:
    """Options of `plan`; None: the default."""

    space: Path
    home: Path
    storage: str | None
    address: str | None
    probe: bool | None
    quick: bool
    overrides: tuple[str, ...]
    as_json: bool


@click.command()
@home_option
@storage_option
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    help="Plan for a running Ray cluster: packs the trials onto its nodes and changes nothing.",
)
@click.option(
    "--probe/--no-probe",
    default=None,
    help="Time the real training step on one worker for about 20 seconds, on generated data of the "
    "sweep's sizes. Default: only with --address; without a probe, times are rough estimates from "
    "the sizes alone.",
)
@quick_option
@set_option
@json_option
@space_argument
@given_as(PlanOptions)
def plan(options: PlanOptions) -> None:
    """Check SPACE (a YAML file) and show what it will run, where, and at about what cost.

    In ablations and grids, trials that are already complete in the home or the storage cost
    nothing. A sampler's trials are not known in advance.

    Exit code 2: no node can run a trial, or no cluster answers at the address.
    """
    from orchestrator.commands.plan_text import render_plan
    from orchestrator.preflight.already_trained import known_runs
    from orchestrator.preflight.plan import plan_here, plan_on
    from orchestrator.spec.joint import JointSpec

    spec = space_spec(options.space, options.overrides, quick=options.quick)
    tell = partial(click.echo, err=True)
    if isinstance(spec, JointSpec):
        _plan_joint(spec, options)
        return
    known = known_runs(spec, options.home, options.storage)
    if options.address is None:
        planned = plan_here(spec, probe=bool(options.probe), tell=tell, known=known)
    else:
        probes = options.probe is not False
        planned = plan_on(spec, options.address, probe=probes, tell=tell, known=known)
    if options.as_json:
        click.echo(json.dumps(planned.to_dict()))
        return
    click.echo(render_plan(planned))
    click.echo()
    click.echo(spec.dump_yaml(), nl=False)


def _plan_joint(spec: "JointSpec", options: PlanOptions) -> None:
    from orchestrator.commands.joint_text import render_joint_plan
    from orchestrator.joint.plan import joint_plan

    planned = joint_plan(
        spec,
        options.home,
        options.storage,
        options.address,
        probe=options.probe,
        tell=partial(click.echo, err=True),
    )
    if options.as_json:
        click.echo(json.dumps(planned.to_dict()))
        return
    click.echo(render_joint_plan(planned))
    click.echo()
    click.echo(spec.dump_yaml(), nl=False)
