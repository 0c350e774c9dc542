"""The spec of a command's YAML file, whole or cut down by `--quick`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.spec.joint import JointSpec
    from orchestrator.spec.sweep_spec import SweepSpec


def space_spec(
    space: Path, overrides: Sequence[str], *, quick: bool, runs_elsewhere: bool = False
) -> "SweepSpec | JointSpec":
    """The spec of a file; with `quick`, a line on stderr says what was cut.

    Args:
        space: The file.
        overrides: Texts of `--set`.
        quick: Whether to cut it to a fraction of its budget.
        runs_elsewhere: Whether it runs on machines that lack this machine's folders.

    Raises:
        SpecError: Everything that is wrong.
    """
    from orchestrator.spec.joint import JointSpec
    from orchestrator.spec.loading import load_any
    from orchestrator.spec.quick_run import load_any_quick, quick_line

    if not quick:
        return load_any(space, overrides, runs_elsewhere=runs_elsewhere)
    spec = load_any_quick(space, overrides, runs_elsewhere=runs_elsewhere)
    click.echo(quick_line(spec.first if isinstance(spec, JointSpec) else spec), err=True)
    return spec
