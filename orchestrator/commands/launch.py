"""`prvr-sweep launch`: runs a sweep."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.addresses import home_folder, user_location
from orchestrator.base.errors import FINISHED_WITH_FAILURES
from orchestrator.base.stopwatch import Stopwatch, importing, phase, running
from orchestrator.commands.notify import NOTIFY_VARIABLE, notified, notify_option
from orchestrator.commands.options import (
    DEFAULT_HOME,
    given_as,
    home_as_given_option,
    json_option,
    quick_option,
    set_option,
    space_argument,
    storage_as_given_option,
    tracking_option,
)
from orchestrator.commands.outcome import show
from orchestrator.commands.profile_text import render_profile
from orchestrator.commands.space import space_spec

if TYPE_CHECKING:
    from orchestrator.spec.joint import JointSpec
    from orchestrator.spec.sweep_spec import SweepSpec
    from orchestrator.sweep.context import ExecutorName
    from orchestrator.sweep.locations import SweepLocations

_PLAN = "plan"


@dataclass(frozen=True)
class LaunchOptions:
    """Options of `launch`; None: the default."""

    space: Path
    home: str | None
    storage: str | None
    tracking_uri: str | None
    executor: "ExecutorName"
    address: str | None
    submit: str | None
    notify: str | None
    quick: bool
    overrides: tuple[str, ...]
    profile: bool
    as_json: bool


@click.command()
@home_as_given_option
@storage_as_given_option
@tracking_option
@click.option(
    "--executor",
    type=click.Choice(["tune", "inline"]),
    default="tune",
    show_default=True,
    help="Ray Tune, or one trial after the other in this process (for debugging).",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    help="Run on a running Ray cluster, from one of its nodes; data and storage (or home) must be "
    "the same locations on all nodes. Default: start a Ray on this machine.",
)
@click.option(
    "--submit",
    metavar="URL",
    help="Send the sweep as a job to the cluster whose dashboard is at http://HOST:PORT, and print "
    "how to follow it; the job continues when this machine is off. Paths are the cluster's.",
)
@notify_option
@quick_option
@set_option
@click.option(
    "--profile",
    is_flag=True,
    help="At the end, print on stderr where the time went: each second of this process belongs to "
    "one phase; what trials did, several at once, is beside it. With --json: a key `profile`.",
)
@json_option
@space_argument
@given_as(LaunchOptions)
def launch(options: LaunchOptions) -> int:
    """Run the sweep of SPACE (a YAML file) and register its best model.

    Over several data sets (data: {NAME: STORE, ...}) it is a sweep for each, one after the other.

    The plan and the progress go to stderr, the winner to stdout. Exit code 2: no node can run a
    trial, or the cluster cannot be used; 4: finished, but trials failed.
    """
    elsewhere = options.address is not None or options.submit is not None
    if elsewhere and options.executor == "inline":
        raise click.UsageError(
            "--executor inline runs in this process; leave out --address and --submit"
        )
    return _launch(options) if options.submit is None else _submit(options.submit, options)


def _launch(options: LaunchOptions) -> int:
    if not options.profile:
        return _launch_here(options)
    stopwatch = Stopwatch.of_process()
    with running(stopwatch):
        code = _launch_here(options)
    if not options.as_json:
        click.echo(render_profile(stopwatch.profile()), err=True)
    return code


def _launch_here(options: LaunchOptions) -> int:
    with importing():
        from orchestrator.spec.joint import JointSpec
        from orchestrator.sweep.locations import SweepLocations
        from orchestrator.tracking.store import TrackingStore

    home = home_folder(DEFAULT_HOME if options.home is None else options.home)
    storage = None if options.storage is None else user_location(options.storage)
    spec = space_spec(options.space, options.overrides, quick=options.quick)
    tracking = TrackingStore.of(options.tracking_uri, home)
    locations = SweepLocations(home, storage, tracking)

    def run() -> int:
        if isinstance(spec, JointSpec):
            return _launch_joint(spec, locations, options)
        return _launch_one(spec, locations, options)

    return notified(options.notify, home, spec.name, run)


def _launch_one(spec: "SweepSpec", locations: "SweepLocations", options: LaunchOptions) -> int:
    with importing():
        from orchestrator.commands.plan_text import render_plan
        from orchestrator.preflight.already_trained import known_runs
        from orchestrator.preflight.plan import plan_here, plan_on
        from orchestrator.sweep.launch import launch as run
        from orchestrator.sweep.progress import progress_on

    with phase(_PLAN):
        known = known_runs(spec, locations.home, locations.storage)
        if options.address is None:
            planned = plan_here(spec, known=known)
        else:
            planned = plan_on(spec, options.address, probe=False, known=known)
    click.echo(render_plan(planned), err=True)
    click.echo(err=True)
    progress = progress_on(sys.stderr)
    result = run(spec, locations, progress, options.executor, options.address)
    return show(result, locations, spec, as_json=options.as_json)


def _launch_joint(spec: "JointSpec", locations: "SweepLocations", options: LaunchOptions) -> int:
    with importing():
        from orchestrator.commands.joint_text import render_joint_plan, show_joint, user_hooks
        from orchestrator.joint.launch import launch_joint
        from orchestrator.joint.plan import joint_plan

    home, storage = locations.home, locations.storage
    with phase(_PLAN):
        planned = joint_plan(spec, home, storage, options.address, probe=False)
    click.echo(render_joint_plan(planned), err=True)
    click.echo(err=True)
    hooks = user_hooks()
    result = launch_joint(spec, locations, hooks, options.executor, options.address)
    return show_joint(result, as_json=options.as_json)


def _submit(url: str, options: LaunchOptions) -> int:
    from orchestrator.commands import submission_text
    from orchestrator.sweep.submit import REMOTE_HOME, RemoteLocations
    from orchestrator.sweep.submit import submit as send

    if options.profile:
        raise click.UsageError("--profile is of a sweep that this process runs; leave out --submit")
    if options.address is not None:
        raise click.UsageError("a job finds its own cluster; leave out --address or --submit")
    source = click.get_current_context().get_parameter_source("notify")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(
            "the command of a job is shown in the cluster's dashboard and logs; set "
            f"{NOTIFY_VARIABLE} in the head's environment instead, and leave out --notify"
        )
    spec = space_spec(options.space, options.overrides, quick=options.quick, runs_elsewhere=True)
    locations = RemoteLocations(options.home or REMOTE_HOME, options.storage, options.tracking_uri)
    sent = send(url, spec, locations, options.as_json)
    if options.as_json:
        click.echo(json.dumps(submission_text.summary(sent)))
    else:
        click.echo(submission_text.render_submission(sent))
    return sent.job.exit_code if sent.job.exit_code == FINISHED_WITH_FAILURES else 0
