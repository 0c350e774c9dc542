"""`prvr-sweep report`: what a sweep found, with intervals and verdicts."""

from pathlib import Path
from typing import Any

import click

from orchestrator.base.errors import LocationError
from orchestrator.commands.options import USER_PATH, home_option


@click.command()
@home_option
@click.option(
    "--format",
    "wanted",
    type=click.Choice(["md", "tex", "html", "json"]),
    default="md",
    show_default=True,
    help="md is readable in a terminal; tex needs booktabs; html is one file with plots.",
)
@click.option(
    "--output",
    type=USER_PATH,
    help="Write the report to this file instead of stdout.",
)
@click.option(
    "--compare",
    "other",
    metavar="OTHER",
    help="Another sweep of the home, to compare this one with.",
)
@click.argument("sweep")
def report(
    sweep: str,
    home: Path,
    wanted: Any,  # noqa: ANN401
    output: Path | None,
    other: str | None,
) -> None:
    """Report what SWEEP found: which differences are real, and what the winner is worth.

    Works while the sweep runs, and changes nothing.
    """
    from orchestrator.report.publishing import render
    from orchestrator.report.publishing import report as read

    text = render(read(home, sweep, other), wanted)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LocationError(f"--output {output}: cannot be written: {error.strerror}") from error
    click.echo(str(output), err=True)
