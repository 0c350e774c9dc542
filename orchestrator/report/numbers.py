"""A report's numbers as plain JSON values, with the names that the tables use."""

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from orchestrator.report.answer import answer
from orchestrator.report.comparison_blocks import comparison_numbers
from orchestrator.report.findings import AblationFinding, Findings, RowFinding, SearchFinding
from orchestrator.statistics.comparison import Comparison
from orchestrator.statistics.crossed import Interval
from orchestrator.statistics.wording import verdict_text
from orchestrator.study.trial import TrialSummary


def report_numbers(findings: Findings) -> dict[str, Any]:
    """Everything that the other formats show in words and pictures."""
    data = findings.data
    return {
        "sweep": data.spec.name,
        "question": data.spec.question,
        "answer": answer(findings),
        "metric": data.spec.objective.metric,
        "protocol": data.spec.protocol,
        "trials": {str(state): count for state, count in data.study.counts().items()},
        "ablation": _ablation(findings.ablation) if findings.ablation else None,
        "search": _search(findings.search) if findings.search else None,
        "winner": _trial(findings.winner) if findings.winner else None,
        "selection": _clean(asdict(findings.selection)) if findings.selection else None,
        "test": {str(trial): asdict(one) for trial, one in findings.test.items()},
        "failures": [asdict(one) for one in findings.failures],
        "against": comparison_numbers(findings.against) if findings.against else None,
        "problems": list(dict.fromkeys(data.problems)),
        "provenance": {
            key: data.attributes.get(key)
            for key in ("code_version", "data_fingerprint", "packages", "hardware", "started_ms",
                        "ended_ms", "spec_yaml")
        },
    }  # fmt: skip


def _ablation(ablation: AblationFinding) -> dict[str, Any]:
    table = ablation.table
    return {
        "rows": [_row(one) for one in ablation.rows],
        "comparisons": [_comparison(one) for one in table.comparisons] if table else None,
        "level": table.level if table else None,
        "judged_before": list(table.extension.judged) if table and table.extension else [],
    }


def _row(row: RowFinding) -> dict[str, Any]:
    names = sorted({name for run in row.runs for one in run.rows[-1:] for name in one.metrics})
    summary = row.summary
    return {
        "name": row.name,
        "failed": row.failed,
        "unfinished": row.unfinished,
        "mean": _number(summary.mean) if summary else None,
        "standard_deviation": _number(summary.standard_deviation) if summary else None,
        "interval": _interval(summary.interval) if summary else None,
        "runs": [
            {
                **_trial(run.trial),
                "seconds": run.seconds,
                "model_parameters": run.parameters,
                "at_best": {name: run.at_best(name) for name in names},
            }
            for run in row.runs
        ],
        "other_runs": [{**_trial(run.trial), "seconds": run.seconds} for run in row.others],
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    need = one.need
    return {
        "variant": one.contrast.variant,
        "reference": one.contrast.reference,
        "seeds": list(one.seeds),
        "left_out": list(one.left_out),
        "difference": _number(one.difference),
        "interval": _interval(one.interval),
        "joint_interval": _interval(one.joint_interval),
        "p_value": one.p_value,
        "corrected_p": one.corrected_p,
        "effect_size": one.effect_size,
        "verdict": str(one.verdict),
        "verdict_text": verdict_text(one),
        "needed_seeds": need.seeds if need else None,
        "needed_videos": need.videos if need else None,
    }


def _search(search: SearchFinding) -> dict[str, Any]:
    found = search.importance
    return {
        "best": [_trial(one) for one in search.best],
        "confirmed": [
            {
                "trial": one.searched.number,
                "searched": one.searched.value,
                "mean": one.mean,
                "standard_deviation": one.standard_deviation,
                "runs": [_trial(run) for run in one.runs],
            }
            for one in search.confirmed
        ],
        "importance": {**asdict(found), "statement": found.statement, "named": list(found.named)},
    }


def _trial(trial: TrialSummary) -> dict[str, Any]:
    fields = asdict(trial)
    del fields["cause"]
    return {**fields, "state": str(trial.state)}


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _clean(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _number(one) if isinstance(one, float) else one for key, one in values.items()}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if isfinite(value) else None
