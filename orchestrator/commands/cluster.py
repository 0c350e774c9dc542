"""`prvr-sweep cluster`: files for `ray up`."""

from pathlib import Path

import click


@click.group()
def cluster() -> None:
    """Check files for `ray up`."""


@cluster.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check FILE for mistakes that Ray takes in silence; run it where `ray up` will run.

    Misspelt keys, defaults of Ray's that cost money or open ports, secrets, versions that differ
    from those here, and folders to copy that are not there.
    """
    from orchestrator.cluster.file.check import check_cluster_file, versions_here

    check_cluster_file(file, versions_here(), Path.cwd())
    click.echo(f"{file}: nothing wrong")
