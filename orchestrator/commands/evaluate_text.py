"""A matrix of evaluations as text for a terminal."""

from collections.abc import Iterator, Sequence

from orchestrator.base.text import count, table_lines
from orchestrator.evaluation.matrix import Cell, Matrix, Target
from orchestrator.evaluation.scores import SUM
from orchestrator.report.formatting import interval_text, number, p_text, signed
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.finished_models import ModelDifference
from prvr_model.reporting import MAP, NDCG, NDCG_DEPTH, OWN, VERIFIED

_RECALLS = ("R1", "R5", "R10", "R100")
_IOUS = ("0.3", "0.5", "0.7")
_COLLAPSE = ("query_difference", "query_spearman", "clip_difference")
_CORRECT = {OWN: "own video", VERIFIED: "any relevant video"}


def render_matrix(matrix: Matrix) -> str:
    """SumR of all at a glance where there are several stores, then the tables of each store."""
    parts = [*(_overview(matrix) if len(matrix.targets) > 1 else [])]
    for target in matrix.targets:
        parts += [block for block in _store_blocks(matrix, target) if block]
    parts.append(_notes(matrix))
    return "\n\n".join("\n".join(block) for block in parts)


def _overview(matrix: Matrix) -> Iterator[list[str]]:
    columns = [
        [cell.scores.views[OWN].metrics[SUM] for cell in matrix.on(t)] for t in matrix.targets
    ]
    rows = [["SumR, own video", *(target.name for target in matrix.targets)]]
    for place, subject in enumerate(matrix.subjects):
        found = [column[place] for column in columns]
        cells = [f"{number(each.value)} ({interval_text(each.interval)})" for each in found]
        rows.append([subject.name, *cells])
    yield table_lines(rows)


def _store_blocks(matrix: Matrix, target: Target) -> Iterator[list[str]]:
    split, cells = target.store.split(target.split), matrix.on(target)
    sizes = f"{count(len(split.video_ids), 'video')}, {count(len(split.caption_ids), 'caption')}"
    yield [f"{target.name}: {sizes}"]
    for view in cells[0].scores.views:
        yield _recalls(view, cells)
    yield _moments(cells)
    yield _branches(cells)
    yield _slices(cells)


def _recalls(view: str, cells: Sequence[Cell]) -> list[str]:
    more = (NDCG, MAP) if view == VERIFIED else ()
    shown = {NDCG: f"nDCG@{NDCG_DEPTH}"}
    heads = [*(f"R@{name[1:]}" for name in _RECALLS), "SumR", "95 % interval"]
    heads += [shown.get(name, name) for name in more]
    with_differences = any(cell.differences for cell in cells)
    rows = [[_CORRECT[view], *heads, *(["difference", "95 % interval"] * with_differences)]]
    verdicts = [""]
    for cell in cells:
        metrics = cell.scores.views[view].metrics
        values = [number(metrics[name].value) for name in (*_RECALLS, SUM)]
        values.append(interval_text(metrics[SUM].interval))
        values += [number(metrics[name].value) for name in more]
        found = cell.differences.get(view)
        if with_differences:
            values += [signed(found.value), interval_text(found.interval)] if found else ["", ""]
        rows.append([cell.subject.name, *values])
        verdicts.append(_verdict(found))
    return _with_last(table_lines(rows), verdicts)


def _with_last(lines: Sequence[str], last: Sequence[str]) -> list[str]:
    """Lines with a last column, aligned left."""
    return [f"{line}  {text}".rstrip() for line, text in zip(lines, last, strict=True)]


def _verdict(found: ModelDifference | None) -> str:
    if found is None:
        return ""
    if found.p_value is None:
        why = "nothing varies between videos" if found.value else "no difference at all"
        return f"{found.verdict.value} ({why})"
    return f"{found.verdict.value} ({p_text(found.corrected_p)})"


def _moments(cells: Sequence[Cell]) -> list[str]:
    """Moments of the refined window, and of the whole video, which knows nothing."""
    known = [(cell.subject.name, cell.scores.moments) for cell in cells if cell.scores.moments]
    if not known:
        return []
    heads = [f"IoU {iou}" for iou in _IOUS]
    rows = [["moments, R@1", *heads, "mean IoU", *(f"corpus {iou}" for iou in _IOUS)]]
    for name, moments in known:
        metrics = moments.metrics
        values = [f"window/R1_iou_{iou}" for iou in _IOUS] + ["window/mIoU"]
        values += [f"corpus/R1_iou_{iou}" for iou in _IOUS]
        rows.append([name, *(number(metrics.get(value)) for value in values)])
    metrics = known[0][1].metrics
    values = [f"whole/R1_iou_{iou}" for iou in _IOUS] + ["whole/mIoU"]
    rows.append(["the whole video", *(number(metrics.get(value)) for value in values), *[""] * 3])
    return table_lines(rows)


def _branches(cells: Sequence[Cell]) -> list[str]:
    """SumR of each branch, and diagnostics of collapse."""
    known = [cell for cell in cells if cell.scores.others]
    if not known:
        return []
    rows = [["branches and collapse", "clip SumR", "frame SumR", *_COLLAPSE]]
    for cell in known:
        others = cell.scores.others
        sums = [number(others.get(f"{branch}/{SUM}")) for branch in ("clip", "frame")]
        collapse = [number(others.get(f"collapse/{name}"), 3) for name in _COLLAPSE]
        rows.append([cell.subject.name, *sums, *collapse])
    return table_lines(rows)


def _slices(cells: Sequence[Cell]) -> list[str]:
    """SumR of every model in each slice, and the differences from the baseline there."""
    scores = cells[0].scores.slices
    if not scores:
        return []
    others = [cell for cell in cells if cell.slice_differences]
    heads = [cell.subject.name for cell in cells]
    heads += [f"{cell.subject.name}: difference" for cell in others]
    rows = [["slices, SumR by own video", "captions", *heads]]
    for place, score in enumerate(scores):
        values = [number(cell.scores.slices[place].sum_of_recalls.value) for cell in cells]
        gains = [_gain(cell.slice_differences[place]) for cell in others]
        label = f"{score.slice.kind}: {score.slice.part}"
        rows.append([label, str(int(score.slice.captions.sum())), *values, *gains])
    return table_lines(rows)


def _gain(found: ModelDifference) -> str:
    mark = "" if found.verdict is Verdict.NOT_SHOWN else f" {found.verdict.value}"
    return f"{signed(found.value)} ({interval_text(found.interval)}){mark}"


def _notes(matrix: Matrix) -> list[str]:
    lines = ["Intervals are for these models on new videos like those of the split."]
    if matrix.num_differences:
        lines.append(
            f"Differences are from {matrix.baseline.name}, in SumR, paired by query. Verdicts are "
            f"corrected over {count(matrix.num_differences, 'difference')}, those in slices over "
            "the slices of a model; intervals are not."
        )
    return [*lines, *(f"note: {note}" for note in matrix.notes)]
