"""`prvr-sweep ui`: starts the MLflow UI on a home's results."""

import os
from pathlib import Path

import click

from orchestrator.commands.options import home_option, tracking_option


@click.command()
@home_option
@tracking_option
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(home: Path, tracking_uri: str | None, port: int) -> int:
    """Start the MLflow UI on 127.0.0.1; Ctrl-C ends it."""
    from orchestrator.tracking.registry import reachable
    from orchestrator.tracking.store import TrackingStore
    from orchestrator.tracking.ui import page_addresses, serve_ui

    store = TrackingStore.of(tracking_uri, home)
    store.check_exists()
    with reachable(store):
        addresses = page_addresses(store, port)
    if (path := store.database) is not None and not os.access(path, os.W_OK):
        click.echo(f"{path} cannot be written: the pages show it, and change nothing", err=True)
    for name, address in addresses.items():
        click.echo(f"{name}: {address}", err=True)
    click.echo("Ctrl-C ends it", err=True)
    return serve_ui(store, port)
