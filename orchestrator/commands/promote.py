"""`prvr-sweep promote`: chooses the champion by hand."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import USER_PATH, home_option, tracking_option

if TYPE_CHECKING:
    from orchestrator.tracking.store import TrackingStore


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
@click.argument("model", metavar="MODEL|SWEEP/NUMBER")
@click.argument("version", required=False)
def promote(
    model: str, version: str | None, home: Path, tracking_uri: str | None, gallery: Path | None
) -> None:
    """Make VERSION of MODEL its champion, whatever its value.

    A complete trial, e.g. another one of a search's front, is named as SWEEP/NUMBER; it becomes a
    version first.
    """
    from orchestrator.tracking.registry import attach_gallery
    from orchestrator.tracking.registry import promote as move
    from orchestrator.tracking.store import TrackingStore

    store = TrackingStore.of(tracking_uri, home)
    if version is None:
        model, version, store = _registered(model, home, tracking_uri)
    if gallery is not None:
        version = attach_gallery(store, model, version, gallery)
    done = move(store, model, version)
    click.echo(f"champion of {done.model}: version {done.version} ({done.description})")
    if done.replaced:
        click.echo(f"it replaces version {done.replaced} ({done.replaced_description})")


def _registered(
    trial: str, home: Path, tracking_uri: str | None
) -> "tuple[str, str, TrackingStore]":
    """Model, version and registry of a trial that becomes a version."""
    from orchestrator.sweep.promotion import register_trial

    if "/" not in trial:
        raise click.UsageError(
            f"found {trial} alone; allowed: MODEL VERSION, or SWEEP/NUMBER for a trial"
        )
    found = register_trial(trial, home, tracking_uri, lambda line: click.echo(line, err=True))
    version = found.version
    click.echo(f"registered: trial {trial} as {version.model} version {version.version}")
    if found.over_limit is not None:
        click.echo(f"  it exceeds a limit of its sweep: {found.over_limit}")
    return version.model, version.version, found.store
