"""`prvr-sweep launch`: the main job."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import (
    DEFAULT_HOME,
    home_as_given_option,
    json_option,
    set_option,
    space_argument,
    tracking_option,
)

if TYPE_CHECKING:
    from orchestrator.launch import LaunchResult, Places
    from orchestrator.trial import TrialSummary

_FINISHED_WITH_FAILURES = 4
_NOT_TRACKED = 1
_INTERRUPTED = 130


@click.command()
@home_as_given_option
@click.option(
    "--storage",
    metavar="URI",
    envvar="PRVR_STORAGE",
    show_envvar=True,
    help="Where trial folders go: an absolute path or a URI such as s3://...; default: the home.",
)
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
    help="Run on a Ray cluster that is running, from one of its nodes; data, home or storage must "
    "be the same place on all of them. Default: a Ray of our own on this machine.",
)
@click.option(
    "--submit",
    metavar="URL",
    help="Send the sweep as a job to the cluster whose dashboard is at http://HOST:PORT, and say "
    "how to follow it; it goes on when this machine is gone. Paths are the cluster's.",
)
@set_option
@json_option
@space_argument
def launch(
    space: Path,
    home: str | None,
    storage: str | None,
    tracking_uri: str | None,
    executor: Any,  # noqa: ANN401  (click checks the choice)
    address: str | None,
    submit: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run the sweep of SPACE (a YAML file) and register its best model.

    The plan and the progress go to stderr, the winner to stdout. Exit code 2: a trial fits
    nowhere, or the cluster cannot be used; 4: finished, but trials failed.
    """
    if (address is not None or submit is not None) and executor == "inline":
        raise click.UsageError(
            "--executor inline runs in this process; leave out --address and --submit"
        )
    if submit is not None:
        if address is not None:
            raise click.UsageError("a job finds its own cluster; leave out --address or --submit")
        return _submit(submit, space, home, storage, tracking_uri, overrides, as_json)
    here = Path(home or DEFAULT_HOME).resolve()
    return _launch(space, here, storage, tracking_uri, executor, address, overrides, as_json)


def _submit(
    url: str,
    space: Path,
    home: str | None,
    storage: str | None,
    tracking_uri: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    from orchestrator import submission_text
    from orchestrator.spec_loading import load_spec
    from orchestrator.submission import DEFAULT_HOME as REMOTE_HOME
    from orchestrator.submission import RemotePlaces
    from orchestrator.submission import submit as send

    spec = load_spec(space, overrides, runs_elsewhere=True)
    places = RemotePlaces(home or REMOTE_HOME, storage, tracking_uri)
    sent = send(url, spec, places, as_json)
    if as_json:
        click.echo(json.dumps(submission_text.summary(sent)))
    else:
        click.echo(submission_text.render(sent))
    return sent.job.exit_code if sent.job.exit_code == _FINISHED_WITH_FAILURES else 0


def _launch(
    space: Path,
    home: Path,
    storage: str | None,
    tracking_uri: str | None,
    executor: Any,  # noqa: ANN401  (click checks the choice)
    address: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    from orchestrator.launch import Places
    from orchestrator.launch import launch as run
    from orchestrator.plan import plan_here, plan_on
    from orchestrator.plan_text import render
    from orchestrator.progress import StreamProgress
    from orchestrator.spec_loading import load_spec
    from orchestrator.tracking_store import TrackingStore

    spec = load_spec(space, overrides)
    places = Places(home, storage, TrackingStore.of(tracking_uri, home))
    planned = plan_here(spec) if address is None else plan_on(spec, address, probe=False)
    click.echo(render(planned), err=True)
    click.echo(err=True)
    result = run(spec, places, StreamProgress(sys.stderr), executor, address)
    if as_json:
        click.echo(json.dumps(_summary(result, places)))
    else:
        click.echo(_winner(result, places, spec.objective.metric))
    if result.problem:
        click.echo(f"warning: MLflow does not have everything: {result.problem}", err=True)
    return _exit_code(result)


def _summary(result: "LaunchResult", places: "Places") -> dict[str, Any]:
    sweep, best = result.sweep, result.sweep.best
    version = result.registered[0] if result.registered else None
    return {
        "sweep": sweep.sweep,
        "storage": sweep.storage,
        "study": sweep.study,
        "tracking_uri": places.tracking.uri,
        "trials": {str(state): count for state, count in sweep.counts.items()},
        "best_trial": best.number if best else None,
        "value": best.value if best else None,
        "parameters": best.parameters if best else None,
        "test": result.test,
        "model": version.model if version else None,
        "version": version.version if version else None,
        "alias": version.alias if version else None,
        "interrupted": sweep.interrupted,
        "problem": result.problem,
    }


def _winner(result: "LaunchResult", places: "Places", metric: str) -> str:
    sweep = result.sweep
    lines = _best_lines(sweep.best, metric) if sweep.best else ["no trial is complete"]
    if result.test:
        names = ("R1", "R5", "R10", "R100", "SumR")
        lines.append("test: " + ", ".join(f"{name} {result.test[name]:.1f}" for name in names))
    for version in result.registered:
        alias = f" as {version.alias}" if version.alias else ""
        lines.append(f"registered: {version.model} version {version.version}{alias}")
        lines.append(f"  {version.reason}")
    if sweep.best and result.problem and not result.registered:
        lines.append(f"not registered; its checkpoint: {sweep.best.folder}")
    lines.append(f"look: prvr-sweep status {sweep.sweep}{_home_option(places.home)}")
    lines.append(f"      {_ui_command(places)}")
    return "\n".join(lines)


def _best_lines(best: "TrialSummary", metric: str) -> list[str]:
    values = [f"  {path} = {_short(value)}" for path, value in best.parameters.items()]
    found = f"{metric} {best.value:.1f} at epoch {best.best_epoch}"
    return [f"winner: trial {best.number}, {found}", *values]


def _ui_command(places: "Places") -> str:
    if places.tracking.is_server:
        return places.tracking.uri
    return f"prvr-sweep ui{_home_option(places.home)}"


def _home_option(home: Path) -> str:
    """The option that names the home, unless it is the default."""
    return "" if home == Path(DEFAULT_HOME).resolve() else f" --home {shlex.quote(str(home))}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _exit_code(result: "LaunchResult") -> int:
    if result.sweep.interrupted:
        return _INTERRUPTED
    if result.sweep.counts.get("failed", 0):  # type: ignore[call-overload]
        return _FINISHED_WITH_FAILURES
    return _NOT_TRACKED if result.problem else 0
