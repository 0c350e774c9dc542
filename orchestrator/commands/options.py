"""Options that several commands share."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.base.addresses import home_folder, user_location, user_path
from orchestrator.base.errors import LocationError

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Options = TypeVar("_Options")
_Result = TypeVar("_Result")

DEFAULT_HOME = "prvr-runs"
_HOME_HELP = "Folder of studies, MLflow's database and generated data."


class _Given(click.ParamType[Any]):
    """What a user gives as a path, and what is meant.

    Args:
        name: What help calls it.
        read: Says what is meant, or raises a `LocationError`.
    """

    def __init__(self, name: str, read: Callable[[Any], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401  (as in click)
        """What is meant."""
        try:
            return self._read(value)
        except LocationError as error:
            self.fail(str(error), param, ctx)


USER_PATH = _Given("path", user_path)
HOME_FOLDER = _Given("directory", home_folder)
USER_LOCATION = _Given("uri", user_location)


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
    type=HOME_FOLDER,
    default=DEFAULT_HOME,
    show_default=True,
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
space_argument = click.argument("space", type=USER_PATH)


def _storage_option(kind: click.ParamType[Any] | None) -> Callable[[_Command], _Command]:
    return click.option(
        "--storage",
        type=kind,
        metavar="URI",
        envvar="PRVR_STORAGE",
        show_envvar=True,
        help="Where trial folders go: an absolute path or a URI such as s3://...; default: the "
        "home.",
    )


storage_option = _storage_option(USER_LOCATION)
# With --submit it is read on the cluster's head, as the home is.
storage_as_given_option = _storage_option(None)


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
