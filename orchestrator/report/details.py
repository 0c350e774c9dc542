"""What a page says about a trial, or a row, where a reader points at a mark of it."""

from collections.abc import Mapping
from typing import Any

from orchestrator.base.text import count
from orchestrator.report.findings import Findings, RowFinding, spread
from orchestrator.report.formatting import display_name, number, short_number, with_spread
from orchestrator.report.joint_findings import JointFindings
from orchestrator.report.marks import row_key, trial_key
from orchestrator.report.reading import Run
from orchestrator.study.front import OVER_LIMIT
from orchestrator.study.goals import cost_text
from orchestrator.study.trial import TrialState


def details(findings: Findings) -> dict[str, str]:
    """Lines of text by key: what it is and its value, then its parameters, a line each."""
    metric = findings.data.spec.objective.metric
    found = {trial_key(run.trial.number): _trial(run, metric) for run in findings.data.runs}
    rows = findings.ablation.rows if findings.ablation else ()
    overrides = {row.name: row.overrides for row in findings.data.spec.rows}
    return found | {row_key(row.name): _row(row, metric, overrides[row.name]) for row in rows}


def joint_details(found: JointFindings) -> dict[str, str]:
    """The same of the rows of several data sets, whose values stand side by side."""
    parts = found.parts.values()
    overrides = {row.name: row.overrides for part in parts for row in part.data.spec.rows}
    means: dict[str, list[str]] = {}
    for data, part in found.parts.items():
        for row in part.rows.rows:
            mean = with_spread(spread(row.values(found.metric)))
            means.setdefault(row.name, []).append(f"on {data} {mean}")
    return {
        row_key(name): _lines(f"{name}: {found.metric} {', '.join(texts)}", overrides.get(name, {}))
        for name, texts in means.items()
    }


def _trial(run: Run, metric: str) -> str:
    trial = run.trial
    name = f"trial {trial.number}" + (f", {trial.variant}" if trial.variant else "")
    seed = "" if trial.seed is None else f", seed {trial.seed}"
    state = "" if trial.state is TrialState.COMPLETE else f", {trial.state}"
    value = f": {metric} {number(trial.value)} at epoch {trial.best_epoch} of {trial.epochs}"
    if trial.over_limit is not None:
        state, value = f", {OVER_LIMIT}", ""
    costs = {display_name(name): cost_text(cost) for name, cost in trial.costs.items()}
    head = f"{name}{seed}{state}{value if trial.best_epoch else ''}"
    return _lines(head, {**costs, **trial.parameters})


def _row(row: RowFinding, metric: str, overrides: Mapping[str, Any]) -> str:
    mean = with_spread(spread(row.values(metric)))
    return _lines(f"{row.name}: {metric} {mean}, {count(len(row.runs), 'run')}", overrides)


def _lines(head: str, parameters: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{path} {short_number(x)}" for path, x in parameters.items())])
