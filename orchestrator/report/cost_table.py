"""What every row of an ablation cost, its failed runs included."""

from collections.abc import Sequence
from statistics import fmean

from orchestrator.report.document import Table
from orchestrator.report.findings import AblationFinding, Findings, RowFinding, spread
from orchestrator.report.formatting import count_text, hours, number, with_spread
from orchestrator.study.trial import TrialState


def cost_table(findings: Findings, ablation: AblationFinding) -> Table:
    """Epochs, device hours, seconds and parameters of each row."""
    resources = findings.data.spec.resources
    unit = "GPU" if resources.gpus else "CPU"
    return Table(
        "Cost of every row",
        ("row", "epochs to best", f"{unit}-hours", "s an epoch", "ms a query", "parameters"),
        [_cost(findings, row) for row in ablation.rows],
        notes=[
            "A query: the seconds of an evaluation, videos encoded, over its queries, which are "
            "answered together.",
            *_incomplete(ablation),
            *_taken_over(findings),
        ],
    )


def _cost(findings: Findings, row: RowFinding) -> list[str]:
    resources, videos = findings.data.spec.resources, findings.data.videos
    devices = (resources.gpus or resources.cpus) * resources.workers
    seconds = [one.seconds for one in (*row.runs, *row.others) if one.seconds is not None]
    epochs = [float(one.trial.best_epoch) for one in row.runs if one.trial.best_epoch]
    evaluation = _mean(row.values("time/evaluation_s"))
    query_ms = None
    if evaluation is not None and videos is not None:
        query_ms = 1000 * evaluation / videos.num_queries
    return [
        row.name,
        with_spread(spread(epochs)),
        hours(devices * sum(seconds) if seconds else None),
        number(_mean(row.values("time/epoch_s"))),
        number(query_ms, 2),
        count_text(next((one.parameters for one in row.runs if one.parameters), None)),
    ]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _incomplete(ablation: AblationFinding) -> list[str]:
    """What the hours hold of runs that did not come to their end, and what is missing."""
    runs = [one for row in ablation.rows for one in (*row.runs, *row.others)]
    ended = [one for one in runs if one.trial.state is not TrialState.RUNNING]
    partly = any(not one.is_complete and one.seconds is not None for one in runs)
    missing = [
        one.trial.number for one in ended if one.seconds is None and one.trial.taken_from is None
    ]
    notes = ["Of failed and unfinished runs, hours hold the finished epochs."] * partly
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        notes.append(f"Not in the hours, as their seconds are not known: trials {listed}.")
    return notes


def _taken_over(findings: Findings) -> list[str]:
    taken = [one.trial for one in findings.data.runs if one.trial.taken_from is not None]
    texts = [f"{one.number} from {one.taken_from}" for one in taken]
    return [f"Trials taken over, which cost nothing here: {', '.join(texts)}."] * bool(texts)
