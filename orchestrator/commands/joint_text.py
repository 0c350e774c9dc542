"""A sweep over several data sets as a terminal shows it: its plan, its status, its result."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import INTERRUPTED, NOT_TRACKED
from orchestrator.base.text import command, count
from orchestrator.commands.profile_text import profile_key

if TYPE_CHECKING:
    from orchestrator.joint.launch import JointHooks, JointResult
    from orchestrator.joint.plan import JointPlan
    from orchestrator.joint.status import JointStatus


def user_hooks() -> "JointHooks":
    """Progress and lines on stderr."""
    from orchestrator.joint.launch import JointHooks
    from orchestrator.sweep.progress import progress_on

    return JointHooks(lambda: progress_on(sys.stderr), lambda line: click.echo(line, err=True))


def render_joint_plan(plan: "JointPlan") -> str:
    """The plans of all parts, then their sum."""
    from orchestrator.commands.plan_text import duration, render_plan

    parts = []
    for data, planned in plan.parts.items():
        lines = [f"data set {data}", render_plan(planned)]
        if plan.spec.is_search and planned.spec.search is None:
            first = next(iter(plan.parts))
            lines.append(f"  its rows will be those that the search confirms on {first}")
        parts.append("\n".join(lines))
    known = f", {plan.known} of them known" if plan.known else ""
    time = "" if plan.seconds is None else f", {duration(plan.seconds)} expected, plus start-up"
    money = f", {plan.money.text}" if plan.money else ""
    more = "; then every winner on the other data sets" if plan.spec.transfer else ""
    parts.append(
        f"sweep {plan.spec.name}: {count(len(plan.parts), 'data set')} one after the other, "
        f"at most {count(plan.most_trials, 'trial')}{known}{time}{money}{more}"
    )
    return "\n\n".join(parts)


def render_joint_status(status: "JointStatus") -> str:
    """The status of every part, and the command that continues the sweep."""
    from orchestrator.commands.status_text import cost_line, render_status

    joint = status.joint
    parts = [f"{joint.name} over {', '.join(joint.spec.parts)}: {status.state}"]
    for data, part in joint.spec.parts.items():
        known = status.parts.get(data)
        text = render_status(known) if known else f"{part.name}: not begun"
        parts.append(f"data set {data}\n{text}")
    if status.cost is not None:
        parts.append(f"{cost_line(status.cost)}; all data sets together")
    if status.state not in ("finished", "running"):
        parts.append(f"continue all: `{command('resume', joint.name, home=joint.home)}`")
    return "\n\n".join(parts)


def show_joint(result: "JointResult", *, as_json: bool) -> int:
    """Print the result on stdout and what MLflow lacks on stderr; returns the exit code."""
    from orchestrator.commands.outcome import exit_code, warn_of_problem

    click.echo(json.dumps({**_numbers(result), **profile_key()}) if as_json else _text(result))
    for part in result.parts.values():
        warn_of_problem(part.result, part.locations, part.spec)
    if result.interrupted:
        return INTERRUPTED
    if result.problem:
        click.echo(f"warning: MLflow does not have the joint report: {result.problem}", err=True)
    codes = [exit_code(part.result) for part in result.parts.values()]
    return max([*codes, NOT_TRACKED if result.problem else 0])


def _numbers(result: "JointResult") -> dict[str, Any]:
    from orchestrator.commands.outcome import result_summary

    parts = result.parts.items()
    return {
        "sweep": result.joint.name,
        "parts": {data: result_summary(part.result, part.locations) for data, part in parts},
        "left": dict(result.left),
        "interrupted": result.interrupted,
        "report": result.report,
        "problem": result.problem,
    }


def _text(result: "JointResult") -> str:
    from orchestrator.commands.outcome import winner_lines
    from prvr_model.files.location import local_path

    joint, blocks = result.joint, []
    for data, part in result.parts.items():
        metric = part.spec.objective.metric
        blocks.append(f"{data}: {winner_lines(part.result, part.locations, metric)}")
    blocks += [f"{data}: did not begin: {why}" for data, why in result.left.items()]
    ends = []
    if result.interrupted or result.left:
        ends.append(f"continue all: {command('resume', joint.name, home=joint.home)}")
    if result.report:
        ends.append(f"joint report: {local_path(result.report) or result.report}")
    ends.append(f"look: {command('report', joint.name, home=joint.home)}")
    return "\n\n".join([*blocks, "\n".join(ends)])
