"""Makes the joint report in each format, and writes it when the last part has ended."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.base.text import command
from orchestrator.report.formats import FORMATS, Format, render_document
from orchestrator.report.joint_answer import against_frozen, joint_answer, joint_verdict
from orchestrator.report.joint_blocks import build_joint
from orchestrator.report.joint_findings import DataSetFinding, JointFindings, find_joint
from orchestrator.report.numbers import ablation_numbers, finite, interval_numbers
from orchestrator.spec.joint import JointSpec
from orchestrator.statistics.several_data import METHOD, DataSetDifference, JointComparison
from orchestrator.tracking.events import REPORT_FILES
from prvr_model.files.folder import Folder


def publish_joint(
    home: Path, spec: JointSpec, storage: str, warn: Callable[[str], None]
) -> str | None:
    """Write the joint report into the sweep's own folder; an error is shown and changes no result.

    Returns:
        Path or URI of the page; None if it could not be made.
    """
    try:
        found = find_joint(home, spec.name)
        folder = Folder.open(storage).child(spec.name)
        for name in REPORT_FILES:
            folder.write_bytes(name, render_joint(found, _format_of(name)).encode())
        return folder.locate("report.html")
    except Exception as error:  # noqa: BLE001  (the trials are done and safe; a report can be made again)
        again = f"`{command('report', spec.name, home=home)}` makes it"
        warn(f"the joint report was not written: {type(error).__name__}: {error}; {again}")
        return None


def _format_of(file_name: str) -> Format:
    return next(each for each in FORMATS if file_name.endswith(f".{each}"))


def render_joint(found: JointFindings, wanted: Format) -> str:
    """The report as text in one of the formats."""
    if wanted == "json":
        return json.dumps(joint_numbers(found), allow_nan=False) + "\n"
    return render_document(build_joint(found), wanted)


def joint_numbers(found: JointFindings) -> dict[str, Any]:
    """Everything that the other formats show as text and figures."""
    comparisons = found.table.comparisons if found.table else None
    return {
        "sweep": found.spec.name,
        "question": found.spec.question,
        "answer": joint_answer(found),
        "metric": found.metric,
        "method": METHOD,
        "comparisons": None if comparisons is None else [_comparison(each) for each in comparisons],
        "data_sets": {data: _part(part, found.metric) for data, part in found.parts.items()},
        "to_come": list(found.to_come),
        "transfer": asdict(found.transfer) if found.transfer else None,
        **({"money": cost.to_dict()} if (cost := found.cost) else {}),
        "problems": found.problems,
        "spec_yaml": found.spec.dump_yaml(),
    }


def _comparison(each: JointComparison) -> dict[str, Any]:
    return {
        "variant": each.contrast.variant,
        "reference": each.contrast.reference,
        "differences": {data: finite(found.mean) for data, found in each.estimates.items()},
        "difference": finite(each.difference),
        "interval": interval_numbers(each.interval),
        "p_value": each.p_value,
        "corrected_p": each.corrected_p,
        "verdict": str(each.verdict),
        "verdict_text": joint_verdict(each),
        "between": _between(each.between) if each.between else None,
    }


def _between(found: DataSetDifference) -> dict[str, Any]:
    return {
        "data": found.data,
        "difference": finite(found.difference),
        "interval": interval_numbers(found.interval),
        "p_value": found.p_value,
        "corrected_p": found.corrected_p,
        "differs": found.is_shown,
    }


def _part(part: DataSetFinding, metric: str) -> dict[str, Any]:
    return {
        "sweep": part.data.spec.name,
        "trials": {str(state): count for state, count in part.data.study.counts().items()},
        "winner": part.winner.number if part.winner else None,
        "against_frozen": against_frozen(part, metric) or None,
        **ablation_numbers(part.rows),
    }
