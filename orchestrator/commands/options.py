"""Options that several commands share."""

from pathlib import Path

import click

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("prvr-runs"),
    show_default=True,
    callback=lambda _context, _parameter, value: value.resolve(),
    help="Folder of studies, MLflow's database and generated data.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a place of the YAML or a setting, e.g. search.trials=8; may be repeated.",
)
space_argument = click.argument("space", type=click.Path(path_type=Path))
storage_option = click.option(
    "--storage",
    metavar="URI",
    help="Where trial folders go: an absolute path or a URI such as s3://...; default: the home.",
)
tracking_option = click.option(
    "--tracking-uri",
    metavar="URI",
    help="An MLflow server or database; default: mlflow.db in the home.",
)
