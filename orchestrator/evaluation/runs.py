"""A matrix as runs of MLflow: one for each model on each split."""

from orchestrator.evaluation.matrix import Cell, Matrix
from orchestrator.tracking.evaluation_runs import EvaluationRun
from orchestrator.tracking.run_change import DataRecord


def evaluation_runs(matrix: Matrix) -> list[EvaluationRun]:
    """The runs, in the order of the cells."""
    return [_run(cell, matrix) for cell in matrix.cells]


def _run(cell: Cell, matrix: Matrix) -> EvaluationRun:
    subject, target, manifest = cell.subject, cell.target, cell.target.store.manifest
    tags = {
        "model": subject.name,
        "model_source": subject.source,
        "model_identity": subject.identity,
        "store": str(target.store.path),
        "split": target.split,
        "baseline": matrix.baseline.name,
        **{f"verdict.{name}": found.verdict.value for name, found in cell.differences.items()},
    }
    data = DataRecord(manifest.name, manifest.fingerprint, str(target.store.path))
    return EvaluationRun(f"{subject.name} on {target.name}", tags, _metrics(cell), data)


def _metrics(cell: Cell) -> dict[str, float]:
    scores = cell.scores
    metrics = dict(scores.others)
    for view, found in scores.views.items():
        for name, measured in found.metrics.items():
            metrics[f"{view}/{name}"] = measured.value
            if (interval := measured.interval) is not None:
                metrics[f"{view}/{name}_low"] = interval.low
                metrics[f"{view}/{name}_high"] = interval.high
    for view, difference in cell.differences.items():
        metrics[f"{view}/SumR_difference"] = difference.value
    if scores.moments is not None:
        metrics |= {f"moments/{name}": value for name, value in scores.moments.metrics.items()}
    return metrics
