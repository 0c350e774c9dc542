"""The result of a sweep as `launch` and `resume` print it, and their exit code."""

import json
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import FINISHED_WITH_FAILURES, INTERRUPTED, NOT_TRACKED
from orchestrator.base.text import command
from orchestrator.commands.profile_text import profile_key
from prvr_model.files.location import local_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.spec.sweep_spec import SweepSpec
    from orchestrator.study.front import Front
    from orchestrator.study.trial import TrialSummary
    from orchestrator.sweep.launch import LaunchResult
    from orchestrator.sweep.locations import SweepLocations


def show(
    result: "LaunchResult", locations: "SweepLocations", spec: "SweepSpec", *, as_json: bool
) -> int:
    """Print the result on stdout and what MLflow lacks on stderr; returns the exit code."""
    from orchestrator.commands.status_text import filter_lines
    from orchestrator.tracking.run_filters import variant_filters

    rows = [row.name for row in spec.rows]
    if as_json:
        filters = variant_filters(spec.name, rows)
        summary = {**result_summary(result, locations), "filters": filters, **profile_key()}
        click.echo(json.dumps(summary))
    else:
        won = winner_lines(result, locations, spec.objective.metric)
        lines = [won, *filter_lines(spec.name, rows)]
        click.echo("\n".join(lines))
    warn_of_problem(result, locations, spec)
    return exit_code(result)


def warn_of_problem(result: "LaunchResult", locations: "SweepLocations", spec: "SweepSpec") -> None:
    """Say on stderr what MLflow lacks, if anything."""
    if result.problem:
        remedy = _remedy(result, locations, spec)
        click.echo(
            f"warning: MLflow does not have everything: {result.problem}; {remedy}", err=True
        )


def _remedy(result: "LaunchResult", locations: "SweepLocations", spec: "SweepSpec") -> str:
    """The command that sends what MLflow lacks; only `resume` also scores and registers."""
    sweep = result.sweep
    is_wanted = sweep.best and spec.registration.top
    is_unregistered = is_wanted and not result.registered
    needs_resume = is_unregistered or result.is_unscored or sweep.interrupted
    name = "resume" if needs_resume else "sync"
    models = " and registers the model" if is_unregistered else ""
    rest = locations.command(name, sweep.sweep)
    return f"once that is fixed, `{rest}` sends the rest{models}"


def result_summary(result: "LaunchResult", locations: "SweepLocations") -> dict[str, Any]:
    """The result for JSON."""
    sweep, best = result.sweep, result.sweep.best
    version = result.registered[0] if result.registered else None
    return {
        "sweep": sweep.sweep,
        "storage": sweep.storage,
        "study": sweep.study,
        "tracking_uri": locations.tracking.shown,
        "trials": {str(state): count for state, count in sweep.counts.items()},
        "best_trial": best.number if best else None,
        "value": best.value if best else None,
        "parameters": best.parameters if best else None,
        "variant": best.variant if best else None,
        "front": sweep.front.to_dict() if sweep.front else None,
        "confirmed": [
            {
                "trial": configuration.searched.number,
                "searched": configuration.searched.value,
                "mean": configuration.mean,
                "fresh": list(configuration.values),
            }
            for configuration in sweep.confirmed
        ],
        "test": result.test,
        "model": version.model if version else None,
        "version": version.version if version else None,
        "alias": version.alias if version else None,
        **({"money": sweep.cost.to_dict()} if sweep.cost else {}),
        "interrupted": sweep.interrupted,
        "protocol": result.protocol,
        "report": result.report,
        "problem": result.problem,
    }


def winner_lines(result: "LaunchResult", locations: "SweepLocations", metric: str) -> str:
    """The winner and where to look, as lines."""
    from orchestrator.commands.status_text import confirmation_lines, cost_line, front_lines

    sweep = result.sweep
    lines = _best_lines(sweep.best, metric, sweep.front) if sweep.best else [_no_winner(result)]
    if sweep.best and sweep.best.variant is not None:
        lines.append("  best run of the crowned row; the report says which differences are real")
    lines += confirmation_lines(sweep.confirmed, sweep.direction)
    lines += front_lines(sweep.front)
    if result.protocol == "paper":
        from orchestrator.spec.warnings import PAPER_NOTE

        lines.append(f"  {PAPER_NOTE}")
    if result.test:
        lines += _test_lines(result.test)
    for version in result.registered:
        alias = f" as {version.alias}" if version.alias else ""
        lines.append(f"registered: {version.model} version {version.version}{alias}")
        lines.append(f"  {version.reason}")
    if sweep.best and result.problem and not result.registered:
        lines.append(f"not registered; its checkpoint: {sweep.best.folder}")
    lines += [line] if (line := cost_line(sweep.cost)) else []
    if sweep.front is not None and len(sweep.front.members) > 1 and not sweep.interrupted:
        promote = locations.command("promote", f"{sweep.sweep}/NUMBER")
        lines.append(f"another one of the front: {promote}")
    if sweep.interrupted:
        lines.append(f"continue: {locations.command('resume', sweep.sweep)}")
    if result.report:
        lines.append(f"report: {local_path(result.report) or result.report}")
    lines.append(f"look: {command('status', sweep.sweep, home=locations.home)}")
    lines.append(f"      {_ui_command(locations)}")
    return "\n".join(lines)


def _test_lines(test: "Mapping[str, float]") -> list[str]:
    """Recalls on test, and those of any relevant video where there are verified labels."""
    groups = {"test": ["R1", "R5", "R10", "R100", "SumR"]}
    if labelled := [name for name in test if name.startswith("verified/")]:
        groups["test, any relevant video"] = labelled
    return [
        f"{what}: " + ", ".join(f"{name.rpartition('/')[2]} {test[name]:.1f}" for name in names)
        for what, names in groups.items()
    ]


def _no_winner(result: "LaunchResult") -> str:
    if result.sweep.counts.get("complete", 0):  # type: ignore[call-overload]
        return "no complete trial is within the limits"
    return "no trial is complete"


def _best_lines(best: "TrialSummary", metric: str, front: "Front | None") -> list[str]:
    values = [f"  {path} = {_short(value)}" for path, value in best.parameters.items()]
    found = f"{metric} {best.value:.1f} at epoch {best.best_epoch}"
    lines = [f"winner: trial {best.number}{_origin(best)}, {found}"]
    if front is not None:
        from orchestrator.study.goals import cost_text

        costs = [f"{name} {cost_text(best.costs.get(name))}" for name in front.goals.costs]
        lines.append("; ".join(filter(None, [f"  {', '.join(costs)}", front.reason])))
    return [*lines, *values]


def _origin(best: "TrialSummary") -> str:
    """Which trial or row the best trial repeats; empty for a trial of a search."""
    if best.confirms is not None:
        return f" (trial {best.confirms} again, seed {best.seed})"
    return "" if best.variant is None else f" ({best.variant}, seed {best.seed})"


def _ui_command(locations: "SweepLocations") -> str:
    if locations.tracking.is_server:
        return locations.tracking.shown
    return command("ui", **locations.tracking.options)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def exit_code(result: "LaunchResult") -> int:
    """Exit code of a command that ran a sweep."""
    if result.sweep.interrupted:
        return INTERRUPTED
    if result.sweep.counts.get("failed", 0):  # type: ignore[call-overload]
        return FINISHED_WITH_FAILURES
    return NOT_TRACKED if result.problem else 0
