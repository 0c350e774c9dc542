"""`prvr-sweep export`: a sweep's results as a file for pandas, DuckDB or a spreadsheet."""

from pathlib import Path
from typing import Any

import click

from orchestrator.base.errors import LocationError
from orchestrator.commands.options import USER_PATH, home_option

_KINDS = (".parquet", ".csv", ".arrow")


def _named_by_kind(ctx: click.Context, parameter: click.Parameter, value: Path) -> Path:
    if value.suffix not in _KINDS:
        raise click.BadParameter(f"found {value.name}; allowed: a name ending {', '.join(_KINDS)}")
    return value


@click.command()
@home_option
@click.option(
    "--what",
    type=click.Choice(["trials", "epochs", "ranks", "queries"]),
    default="trials",
    show_default=True,
    help="A row per trial, per epoch of a trial, per validation query of a trial, or per query.",
)
@click.argument("sweep")
@click.argument("file", type=USER_PATH, callback=_named_by_kind)
def export(sweep: str, file: Path, home: Path, what: Any) -> None:  # noqa: ANN401
    """Write results of SWEEP to FILE (.parquet, .csv or .arrow).

    Columns have fixed names and types; units are in the schema's metadata. Works while the sweep
    runs, and changes nothing of it.
    """
    from orchestrator.study.tables import write_table
    from orchestrator.sweep.handle import Sweep

    table = Sweep(sweep, home).table(what)
    try:
        write_table(table, file)
    except OSError as error:
        raise LocationError(f"{file}: cannot be written: {error.strerror}") from error
    click.echo(f"{file}: {table.num_rows} rows, {table.num_columns} columns", err=True)
