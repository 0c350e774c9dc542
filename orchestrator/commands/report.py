"""`prvr-sweep report`: what a sweep found, with intervals and verdicts."""

from pathlib import Path
from typing import Any

import click

from orchestrator.commands.options import home_option
from orchestrator.commands.written import format_option, output_option, write_out


@click.command()
@home_option
@format_option
@output_option
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

    write_out(render(read(home, sweep, other), wanted), output)
