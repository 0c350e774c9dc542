"""`prvr-sweep resume`: continues a sweep, or extends it."""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.notify import notified, notify_option
from orchestrator.commands.options import (
    USER_LOCATION,
    USER_PATH,
    given_as,
    home_option,
    json_option,
)
from orchestrator.commands.outcome import show

if TYPE_CHECKING:
    from orchestrator.sweep.context import ExecutorName
    from orchestrator.sweep.resume import ResumeRequest


@dataclass(frozen=True)
class ResumeOptions:
    """Options of `resume`; None: as the sweep was launched."""

    sweep: str
    home: Path
    trials: int | None
    epochs: int | None
    seeds: int | None
    budget: tuple[str, ...]
    prices: Path | None
    storage: str | None
    tracking_uri: str | None
    executor: "ExecutorName | None"
    address: str | None
    notify: str | None
    as_json: bool

    def request(self) -> "ResumeRequest":
        """The options that the sweep itself needs."""
        from orchestrator.sweep.resume import ResumeRequest

        names = [field.name for field in fields(ResumeRequest)]
        return ResumeRequest(**{name: getattr(self, name) for name in names})


@click.command()
@home_option
@click.option("--trials", type=click.IntRange(min=1), help="New total number of trials.")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="New number of epochs per trial; complete trials continue from their checkpoints.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), help="New number of seeds of every row of an ablation."
)
@click.option(
    "--budget",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the budget, e.g. gpu_hours=8 or trials=null; may be repeated.",
)
@click.option(
    "--prices",
    type=USER_PATH,
    metavar="FILE",
    help="A YAML file of prices that replace the sweep's own.",
)
@click.option(
    "--storage",
    type=USER_LOCATION,
    metavar="URI",
    help="Where the trial folders are now, if moved.",
)
@click.option("--tracking-uri", metavar="URI", help="Another MLflow; it gets the whole sweep.")
@click.option(
    "--executor",
    type=click.Choice(["tune", "inline"]),
    help="Ray Tune, or one trial after the other in this process; default: as launched.",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT|local",
    help="A running Ray cluster; local: start a Ray on this machine; default: as launched.",
)
@notify_option
@json_option
@click.argument("sweep")
@given_as(ResumeOptions)
def resume(options: ResumeOptions) -> int:
    """Continue SWEEP, however it ended; finished trials do not run again.

    Unfinished trials continue from their last checkpoints; then new trials are drawn as if the
    sweep had not ended. --trials, --epochs and --seeds extend a finished sweep. Exit codes are
    those of launch.
    """
    from orchestrator.study.joint_record import joint_record

    def run() -> int:
        if joint_record(options.home, options.sweep) is not None:
            return _resume_joint(options)
        return _resume_one(options)

    return notified(options.notify, options.home, options.sweep, run)


def _resume_one(options: ResumeOptions) -> int:
    from orchestrator.sweep.progress import progress_on
    from orchestrator.sweep.resume import resume as run

    resumed = run(
        options.request(), progress_on(sys.stderr), lambda line: click.echo(line, err=True)
    )
    return show(resumed.result, resumed.locations, resumed.spec, as_json=options.as_json)


def _resume_joint(options: ResumeOptions) -> int:
    from orchestrator.commands.joint_text import show_joint, user_hooks
    from orchestrator.joint.launch import resume_joint

    return show_joint(resume_joint(options.request(), user_hooks()), as_json=options.as_json)
