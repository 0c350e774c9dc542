"""`prvr-sweep promote`: chooses the champion by hand."""

from pathlib import Path

import click

from orchestrator.commands.options import USER_PATH, home_option, tracking_option


@click.command()
@home_option
@tracking_option
@click.option(
    "--gallery",
    type=USER_PATH,
    metavar="GALLERY",
    help="Register VERSION once more with a copy of this gallery, and make that the champion: it "
    "answers sentences.",
)
@click.argument("model")
@click.argument("version")
def promote(
    model: str, version: str, home: Path, tracking_uri: str | None, gallery: Path | None
) -> None:
    """Make VERSION of MODEL its champion, whatever its value."""
    from orchestrator.tracking.registry import attach_gallery
    from orchestrator.tracking.registry import promote as move
    from orchestrator.tracking.store import TrackingStore

    store = TrackingStore.of(tracking_uri, home)
    if gallery is not None:
        version = attach_gallery(store, model, version, gallery)
    done = move(store, model, version)
    click.echo(f"champion of {done.model}: version {done.version} ({done.description})")
    if done.replaced:
        click.echo(f"it replaces version {done.replaced} ({done.replaced_description})")
