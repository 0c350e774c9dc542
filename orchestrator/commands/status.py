"""`prvr-sweep status`: the trials of a sweep, from its study."""

import json
from pathlib import Path

import click

from orchestrator.commands.options import home_option, json_option


@click.command()
@home_option
@json_option
@click.argument("sweep")
def status(sweep: str, home: Path, as_json: bool) -> None:
    """Show SWEEP: its trials by state, the best so far, failures by cause."""
    from orchestrator.commands.status_text import render_status
    from orchestrator.study.joint_record import joint_record
    from orchestrator.sweep.status import read_status

    if joint_record(home, sweep) is not None:
        _show_joint(home, sweep, as_json)
        return
    found = read_status(home, sweep)
    click.echo(json.dumps(found.to_dict()) if as_json else render_status(found))


def _show_joint(home: Path, sweep: str, as_json: bool) -> None:
    from orchestrator.commands.joint_text import render_joint_status
    from orchestrator.joint.status import joint_status

    found = joint_status(home, sweep)
    click.echo(json.dumps(found.to_dict()) if as_json else render_joint_status(found))
