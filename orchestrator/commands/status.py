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
    from orchestrator.sweep.status import read_status

    found = read_status(home, sweep)
    click.echo(json.dumps(found.to_dict()) if as_json else render_status(found))
