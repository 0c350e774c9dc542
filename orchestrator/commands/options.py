"""Options that several commands share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Options = TypeVar("_Options")
_Result = TypeVar("_Result")

DEFAULT_HOME = "prvr-runs"
_HOME_HELP = "Folder of studies, MLflow's database and generated data."


def given_as(
    options: Callable[..., _Options],
) -> Callable[[Callable[[_Options], _Result]], Callable[..., _Result]]:
    """Hand a command its arguments and options as one object.

    Args:
        options: A dataclass with a field for each argument and option.
    """

    def decorated(command: Callable[[_Options], _Result]) -> Callable[..., _Result]:
        @functools.wraps(command)
        def call(**given: Any) -> _Result:  # noqa: ANN401  (click has checked them)
            return command(options(**given))

        return call

    return decorated


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(DEFAULT_HOME),
    show_default=True,
    callback=lambda _context, _parameter, value: value.resolve(),
    help=_HOME_HELP,
)
home_as_given_option = click.option(
    "--home",
    metavar="DIRECTORY",
    help=f"{_HOME_HELP} Default: {DEFAULT_HOME}; with --submit: ~/{DEFAULT_HOME} on the head.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a key of the YAML or a setting, e.g. search.trials=8; may be repeated.",
)
quick_option = click.option(
    "--quick",
    is_flag=True,
    help="Run a few epochs on two seeds as sweep NAME-quick: shows in minutes that everything "
    "works; its numbers do not answer the question.",
)
space_argument = click.argument("space", type=click.Path(path_type=Path))
storage_option = click.option(
    "--storage",
    metavar="URI",
    envvar="PRVR_STORAGE",
    show_envvar=True,
    help="Where trial folders go: an absolute path or a URI such as s3://...; default: the home.",
)


def _tracking_option(default: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--tracking-uri",
        metavar="URI",
        envvar="PRVR_TRACKING_URI",
        show_envvar=True,
        help=f"An MLflow server or database; default: {default}.",
    )


tracking_option = _tracking_option("mlflow.db in the home")
launched_tracking_option = _tracking_option("the one that the sweep was launched with")
