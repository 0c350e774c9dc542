"""`prvr-sweep promote`: chooses the champion by hand."""

from pathlib import Path

import click

from orchestrator.commands.options import home_option, tracking_option


@click.command()
@home_option
@tracking_option
@click.argument("model")
@click.argument("version")
def promote(model: str, version: str, home: Path, tracking_uri: str | None) -> None:
    """Make VERSION of MODEL its champion, whatever its value."""
    from orchestrator.tracking.registry import promote as move
    from orchestrator.tracking.store import TrackingStore

    done = move(TrackingStore.of(tracking_uri, home), model, version)
    click.echo(f"champion of {done.model}: version {done.version} ({done.description})")
    if done.replaced:
        click.echo(f"it replaces version {done.replaced} ({done.replaced_description})")
