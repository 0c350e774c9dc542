"""Options of commands that write a document, and where the text goes."""

from pathlib import Path

import click

from orchestrator.base.errors import LocationError
from orchestrator.commands.options import USER_PATH

format_option = click.option(
    "--format",
    "wanted",
    type=click.Choice(["md", "tex", "html", "json"]),
    default="md",
    show_default=True,
    help="md is readable in a terminal and in an issue; tex needs booktabs; html is one file that "
    "needs no other.",
)
output_option = click.option(
    "--output", type=USER_PATH, help="Write the text to this file instead of stdout."
)


def write_out(text: str, output: Path | None) -> None:
    """Write a text to stdout, or to a file, whose path is then told.

    Raises:
        LocationError: The file cannot be written.
    """
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LocationError(f"--output {output}: cannot be written: {error.strerror}") from error
    click.echo(str(output), err=True)
