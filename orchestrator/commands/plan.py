"""`prvr-sweep plan`: what a sweep will do, before anything starts."""

import json
from pathlib import Path

import click

from orchestrator.commands.options import json_option, set_option, space_argument


@click.command()
@set_option
@json_option
@space_argument
def plan(space: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check SPACE (a YAML file) and say what it will run and about what it costs."""
    from orchestrator.plan import plan_here
    from orchestrator.spec_loading import load_spec

    planned = plan_here(load_spec(space, overrides))
    if as_json:
        click.echo(json.dumps(planned.to_dict()))
        return
    click.echo(planned.render())
    click.echo()
    click.echo(planned.spec.dump_yaml(), nl=False)
