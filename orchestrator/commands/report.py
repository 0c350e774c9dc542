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
    from orchestrator.report.joint_findings import find_joint
    from orchestrator.report.joint_publishing import render_joint
    from orchestrator.report.publishing import render
    from orchestrator.report.publishing import report as read
    from orchestrator.study.joint_record import joint_record, parts_note

    if joint_record(home, sweep) is None:
        text = render(read(home, sweep, other), wanted)
    elif other is None:
        text = render_joint(find_joint(home, sweep), wanted)
    else:
        note = parts_note(home, sweep)
        raise click.UsageError(f"--compare takes two sweeps of one data set: {note}")
    write_out(text, output)
