"""`prvr-sweep cluster`: files for `ray up`."""

from pathlib import Path

import click

from orchestrator.commands.options import USER_PATH


@click.group()
def cluster() -> None:
    """Check files for `ray up`."""


@cluster.command()
@click.argument("file", type=USER_PATH)
def check(file: Path) -> None:
    """Check FILE for mistakes that Ray silently accepts; run it where `ray up` will run.

    Finds misspelt keys, Ray defaults that cost money or open ports, secrets, versions other than
    those installed here, and folders to copy that do not exist.
    """
    from orchestrator.cluster.file.check import check_cluster_file, versions_here

    check_cluster_file(file, versions_here(), Path.cwd())
    click.echo(f"{file}: nothing wrong")
