"""The command line: `prvr-sweep`.

stdout is the result, stderr is progress and messages. Exit codes: 0 fine, 1 our fault, 2 usage
or spec, 3 data, 4 finished with failed trials, 130 interrupted.
"""

import gc
import os
import platform
import shlex
import signal
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from orchestrator.base.errors import INTERRUPTED
from orchestrator.base.machine import settle_user
from orchestrator.base.text import DEFAULT_HOME, error_line, without_secrets
from prvr_model.errors import PrvrError

# Command -> module below `orchestrator.commands`; imported when the command is used.
_COMMANDS = {
    "launch": "launch",
    "resume": "resume",
    "plan": "plan",
    "status": "status",
    "report": "report",
    "export": "export",
    "reproduce": "reproduce",
    "promote": "promote",
    "evaluate": "evaluate",
    "gallery": "gallery",
    "query": "query",
    "serve": "serve",
    "sync": "sync",
    "gc": "gc",
    "ui": "ui",
    "data": "data",
    "cluster": "cluster",
    "doctor": "doctor",
    "drain-agent": "drain_agent",
}
_HELP = {
    "launch": "Run a sweep and register its best model.",
    "resume": "Continue a sweep that ended, or extend one.",
    "plan": "Show what a sweep will do and cost; start nothing.",
    "status": "Show the trials of a sweep, also while it runs.",
    "report": "Report what a sweep found, with intervals and verdicts.",
    "export": "Write a sweep's results as a table for pandas, DuckDB or a spreadsheet.",
    "reproduce": "Run a trial again and compare it with what was recorded.",
    "promote": "Make a version of a model its champion.",
    "evaluate": "Score models on feature stores and compare them.",
    "gallery": "Make, change and inspect galleries, which answer sentences.",
    "query": "Ask a gallery for videos that fit a sentence, and when.",
    "serve": "Answer sentences from a gallery over HTTP, with a page.",
    "sync": "Send MLflow what it missed of a sweep.",
    "gc": "Free checkpoints that a sweep no longer needs.",
    "ui": "Start the MLflow UI on a home's results.",
    "data": "Make and inspect feature stores.",
    "cluster": "Check files for `ray up`.",
    "doctor": "Check for common problems before a sweep runs.",
    "drain-agent": "Drain this machine's Ray node before the machine is taken away.",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are used, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"orchestrator.commands.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, _COMMANDS[cmd_name])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELP.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{_nearest(args[0])}", ctx) from error


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, _COMMANDS, n=1)
    return f" Did you mean {near[0]}?" if near else ""


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prvr-sweep")
def cli() -> None:
    """Tune, ablate and keep models for partially relevant video retrieval."""


def main() -> None:
    """Entry point of `prvr-sweep`; turns errors into one message and an exit code."""
    _settle_streams()
    settle_user()
    _settle_libraries()
    # Batch systems end a job with SIGTERM: clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = run(sys.argv[1:])
    # At its end Python looks for garbage in all that was imported: two seconds after a sweep.
    gc.freeze()
    sys.exit(code)


def _settle_streams() -> None:
    """Standard streams that are there, whatever the caller closed, and that take every letter.

    A file that is opened later would get the number of a closed stream, and what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _settle_libraries() -> None:
    """Variables of other programs that would end the import of libraries, here and in children."""
    # Our figures need no window, and of the old names of windows matplotlib refuses some.
    os.environ.pop("MPLBACKEND", None)
    # That a library uses something deprecated is no error of the user's.
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        del os.environ["PYTHONWARNINGS"]
        warnings.resetwarnings()


def run(arguments: list[str]) -> int:
    """Run a command line; returns its exit code."""
    try:
        return _run(arguments)
    except BrokenPipeError:
        # The reader of our output is gone, e.g. `head`; nothing more can be said to it.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    try:
        result: Any = cli.main(args=arguments, prog_name="prvr-sweep", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PrvrError as error:
        click.echo(f"error: {without_secrets(str(error))}", err=True)
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place where it can be told
        click.echo(f"error: {error_line(error)}; {_reported(error, arguments)}", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _reported(error: Exception, arguments: list[str]) -> str:
    """Save what a report of an error that nobody foresaw needs; says where it is."""
    from orchestrator.base.installation import code_version, package_versions

    versions = [f"{name} {version}" for name, version in package_versions().items()]
    parts = [
        f"prvr-sweep {code_version()}, {', '.join(versions)}, {platform.platform()}",
        shlex.join(["prvr-sweep", *_without_target(arguments)]),
        "".join(traceback.format_exception(error)),
    ]
    for folder in (_home_of(arguments), None):
        with suppress(OSError):
            handle, path = tempfile.mkstemp(".txt", "prvr-error-", folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(without_secrets("\n\n".join(parts)))
            return f"this was not foreseen: {path} has what a report of it needs"
    return "this was not foreseen, and no file could be written that says more"


def _without_target(arguments: list[str]) -> list[str]:
    """A command line without what `--notify` names, any part of which may be a secret."""
    before = ["", *arguments]
    kept = zip(before, arguments, strict=False)
    hidden = ("***" if option == "--notify" else argument for option, argument in kept)
    return ["--notify=***" if text.startswith("--notify=") else text for text in hidden]


def _home_of(arguments: list[str]) -> Path:
    """The home that a command line names."""
    options = zip(arguments, [*arguments[1:], ""], strict=True)
    named = [
        following if option == "--home" else option.removeprefix("--home=")
        for option, following in options
        if option == "--home" or option.startswith("--home=")
    ]
    return Path(named[-1]) if named else DEFAULT_HOME


if __name__ == "__main__":
    main()
