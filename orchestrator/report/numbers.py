"""A report's numbers as plain JSON values, with the names that the tables use."""

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from orchestrator.report.answer import answer
from orchestrator.report.comparison_blocks import comparison_answer
from orchestrator.report.findings import AblationFinding, Findings, RowFinding, SearchFinding
from orchestrator.report.slice_blocks import slice_answer
from orchestrator.report.slice_findings import SliceFinding
from orchestrator.report.sweep_comparison import ComparedSweeps
from orchestrator.report.yardstick_blocks import yardstick_answer
from orchestrator.statistics.comparison import Comparison
from orchestrator.statistics.crossed import Interval
from orchestrator.statistics.wording import verdict_text
from orchestrator.study.trial import TrialSummary


def report_numbers(findings: Findings) -> dict[str, Any]:
    """Everything that the other formats show as text and figures."""
    data = findings.data
    return {
        "sweep": data.spec.name,
        "question": data.spec.question,
        "answer": answer(findings),
        "metric": data.spec.objective.metric,
        "protocol": data.spec.protocol,
        "trials": {str(state): count for state, count in data.study.counts().items()},
        "ablation": ablation_numbers(findings.ablation) if findings.ablation else None,
        "search": _search(findings.search) if findings.search else None,
        "yardstick": _yardstick(findings),
        "slices": _slices(findings.slices) if findings.slices else None,
        "front": findings.front.to_dict() if findings.front else None,
        "winner": _trial(findings.winner) if findings.winner else None,
        "selection": _finite_values(asdict(findings.selection)) if findings.selection else None,
        "test": {str(trial): asdict(score) for trial, score in findings.test.items()},
        "failures": [asdict(group) for group in findings.failures],
        "against": comparison_numbers(findings.against) if findings.against else None,
        "examples": _finite_values(asdict(findings.examples)) if findings.examples else None,
        **({"money": findings.cost.to_dict()} if findings.cost else {}),
        "problems": list(dict.fromkeys(data.problems)),
        "provenance": {
            key: data.attributes.get(key)
            for key in ("code_version", "data_fingerprint", "packages", "hardware", "started_ms",
                        "ended_ms", "spec_yaml")
        },
    }  # fmt: skip


def ablation_numbers(ablation: AblationFinding) -> dict[str, Any]:
    """Rows and their comparisons as JSON values."""
    table = ablation.table
    return {
        "rows": [_row(row) for row in ablation.rows],
        "comparisons": [_comparison(each) for each in table.comparisons] if table else None,
        "level": table.level if table else None,
        "judged_before": list(table.extension.judged) if table and table.extension else [],
    }


def _row(row: RowFinding) -> dict[str, Any]:
    last_epochs = [run.epochs[-1] for run in row.runs if run.epochs]
    metrics = sorted({name for epoch in last_epochs for name in epoch.metrics})
    summary = row.summary
    return {
        "name": row.name,
        "failed": row.failed,
        "unfinished": row.unfinished,
        "mean": finite(summary.mean) if summary else None,
        "standard_deviation": finite(summary.standard_deviation) if summary else None,
        "interval": interval_numbers(summary.interval) if summary else None,
        "runs": [
            {
                **_trial(run.trial),
                "seconds": run.seconds,
                "model_parameters": run.parameters,
                "at_best": {name: run.at_best(name) for name in metrics},
            }
            for run in row.runs
        ],
        "other_runs": [{**_trial(run.trial), "seconds": run.seconds} for run in row.others],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    need = comparison.need
    return {
        "variant": comparison.contrast.variant,
        "reference": comparison.contrast.reference,
        "seeds": list(comparison.seeds),
        "left_out": list(comparison.left_out),
        "difference": finite(comparison.difference),
        "interval": interval_numbers(comparison.interval),
        "joint_interval": interval_numbers(comparison.joint_interval),
        "p_value": comparison.p_value,
        "corrected_p": comparison.corrected_p,
        "effect_size": comparison.effect_size,
        "verdict": str(comparison.verdict),
        "verdict_text": verdict_text(comparison),
        "needed_seeds": need.seeds if need else None,
        "needed_videos": need.videos if need else None,
    }


def _yardstick(findings: Findings) -> dict[str, Any] | None:
    found = findings.yardstick
    if found is None:
        return None
    return {
        "statement": yardstick_answer(findings),
        "rows": [
            {
                "name": row.name,
                "recalls": dict(row.recalls),
                "test": dict(row.test) if row.test else None,
                "interval": interval_numbers(row.interval),
            }
            for row in found.rows
        ],
        "comparisons": [_comparison(each) for each in found.table.comparisons]
        if found.table
        else None,
    }


def _slices(finding: SliceFinding) -> dict[str, Any]:
    """Every slice; those without a verdict have too few videos to be judged."""
    parts = [
        {
            **asdict(gain),
            "difference": gain.difference,
            "interval": interval_numbers(gain.interval),
            "verdict": str(gain.verdict) if gain.is_judged else None,
        }
        for gain in (finding.overall, *finding.gains)
    ]
    fields = {name: value for name, value in asdict(finding).items() if name != "without_branches"}
    return {**fields, "answer": slice_answer(finding), "overall": parts[0], "gains": parts[1:]}


def _search(search: SearchFinding) -> dict[str, Any]:
    importance = search.importance
    return {
        "best": [_trial(trial) for trial in search.best],
        "confirmed": [
            {
                "trial": confirmed.searched.number,
                "searched": confirmed.searched.value,
                "mean": confirmed.mean,
                "standard_deviation": confirmed.standard_deviation,
                "runs": [_trial(run) for run in confirmed.runs],
            }
            for confirmed in search.confirmed
        ],
        "importance": {
            **asdict(importance),
            "statement": importance.statement,
            "named": list(importance.named),
        },
    }


def comparison_numbers(compared: ComparedSweeps) -> dict[str, Any]:
    """The comparison of two sweeps as JSON values."""
    values = asdict(compared)
    values["answer"] = comparison_answer(compared)
    for fields, pair in zip(values["comparisons"], compared.comparisons, strict=True):
        fields |= {
            "means": [finite(mean) for mean in pair.means],
            "difference": finite(pair.difference),
            "verdict": str(pair.verdict),
            "pairing": str(pair.pairing),
            "interval": interval_numbers(pair.interval),
        }
    return values


def _trial(trial: TrialSummary) -> dict[str, Any]:
    fields = asdict(trial)
    del fields["cause"]
    return {**fields, "state": str(trial.state)}


def interval_numbers(interval: Interval | None) -> list[float] | None:
    """Both ends; None without an interval."""
    return None if interval is None else [interval.low, interval.high]


def _finite_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: finite(value) if isinstance(value, float) else value for name, value in fields.items()
    }


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if isfinite(value) else None
