"""The YAML file that a command was given, as it is or in short."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


def space_spec(
    space: Path, overrides: Sequence[str], *, quick: bool, runs_elsewhere: bool = False
) -> "SweepSpec":
    """The spec of a file; a quick one says so on stderr.

    Args:
        space: The file.
        overrides: Texts of `--set`.
        quick: Whether at a fraction of its budget.
        runs_elsewhere: Whether on machines that do not have this one's folders.

    Raises:
        SpecError: Everything that is wrong.
    """
    from orchestrator.spec.loading import load_spec
    from orchestrator.spec.quick_run import load_quick, quick_line

    if not quick:
        return load_spec(space, overrides, runs_elsewhere=runs_elsewhere)
    spec = load_quick(space, overrides, runs_elsewhere=runs_elsewhere)
    click.echo(quick_line(spec), err=True)
    return spec
