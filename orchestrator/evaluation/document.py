"""A matrix of evaluations as a document: for a terminal, an issue, a paper's appendix, a page."""

from collections.abc import Iterator, Sequence

from orchestrator.base.text import count
from orchestrator.evaluation.matrix import Cell, Matrix, Target
from orchestrator.evaluation.scores import SUM
from orchestrator.report.document import Align, Block, Document, Heading, Paragraph, Table
from orchestrator.report.formatting import NO_NUMBER, interval_text, number, p_text, signed
from orchestrator.statistics.finished_models import Measured, ModelDifference
from prvr_model.reporting import MAP, NDCG, NDCG_DEPTH, OWN, VERIFIED

_RECALLS = ("R1", "R5", "R10", "R100")
_IOUS = ("0.3", "0.5", "0.7")
_COLLAPSE = {
    "query_difference": "query difference",
    "query_spearman": "query Spearman",
    "clip_difference": "clip difference",
}
_CORRECT = {OWN: "own video", VERIFIED: "any relevant video"}
_INTERVAL = "95 % interval"


def matrix_document(matrix: Matrix) -> Document:
    """SumR of all at a glance where there are several stores, then the tables of each store."""
    models, stores = count(len(matrix.subjects), "model"), count(len(matrix.targets), "split")
    blocks = [block for target in matrix.targets for block in _store_blocks(matrix, target)]
    overview = [_overview(matrix)] if len(matrix.targets) > 1 else []
    notes = [Paragraph(note) for note in _notes(matrix)]
    parts = (*overview, *blocks, Heading("How to read it"), *notes)
    return Document("Evaluation", f"{models} on {stores}", parts)


def _overview(matrix: Matrix) -> Table:
    columns = [
        [_with_interval(cell.scores.views[OWN].metrics[SUM]) for cell in matrix.on(target)]
        for target in matrix.targets
    ]
    names = [subject.name for subject in matrix.subjects]
    rows = [list(row) for row in zip(names, *columns, strict=True)]
    heads = ("model", *(target.name for target in matrix.targets))
    return Table(f"SumR by own video, with {_INTERVAL}", heads, rows)


def _with_interval(found: Measured) -> str:
    return f"{number(found.value)} ({interval_text(found.interval)})"


def _store_blocks(matrix: Matrix, target: Target) -> Iterator[Block]:
    split, cells = target.store.split(target.split), matrix.on(target)
    yield Heading(target.name)
    sizes = f"{count(len(split.video_ids), 'video')}, {count(len(split.caption_ids), 'caption')}"
    yield Paragraph(f"{sizes}.")
    for view in cells[0].scores.views:
        yield _recalls(view, cells)
    yield from _moments(cells)
    yield from _branches(cells)
    yield from _slices(matrix, cells)


def _recalls(view: str, cells: Sequence[Cell]) -> Table:
    more = (NDCG, MAP) if view == VERIFIED else ()
    shown = {NDCG: f"nDCG@{NDCG_DEPTH}"}
    heads = ["model", *(f"R@{name[1:]}" for name in _RECALLS), SUM, _INTERVAL]
    heads += [shown.get(name, name) for name in more]
    numbers: list[Align] = ["right"] * (len(heads) - 1)
    align: list[Align] = ["left", *numbers]
    is_compared = any(cell.differences for cell in cells)
    if is_compared:
        heads += ["difference", _INTERVAL, "verdict"]
        align += ["right", "right", "left"]
    rows = []
    for cell in cells:
        metrics = cell.scores.views[view].metrics
        values = [number(metrics[name].value) for name in (*_RECALLS, SUM)]
        values.append(interval_text(metrics[SUM].interval))
        values += [number(metrics[name].value) for name in more]
        values += _difference(cell.differences.get(view)) if is_compared else []
        rows.append([cell.subject.name, *values])
    return Table(f"Recalls in percent, by {_CORRECT[view]}", heads, rows, align=align)


def _difference(found: ModelDifference | None) -> list[str]:
    if found is None:
        return [NO_NUMBER, NO_NUMBER, "baseline"]
    return [signed(found.value), interval_text(found.interval), _verdict(found)]


def _verdict(found: ModelDifference) -> str:
    if found.p_value is None:
        why = "nothing varies between videos" if found.value else "no difference at all"
        return f"{found.verdict.value} ({why})"
    return f"{found.verdict.value} ({p_text(found.corrected_p)})"


def _moments(cells: Sequence[Cell]) -> Iterator[Block]:
    """Moments of the refined window, and of the whole video, which knows nothing."""
    known = [(cell.subject.name, cell.scores.moments) for cell in cells if cell.scores.moments]
    if not known:
        return
    in_video = [f"R1_iou_{iou}" for iou in _IOUS] + ["mIoU"]
    rows = []
    for name, moments in known:
        values = [f"window/{value}" for value in in_video]
        values += [f"corpus/R1_iou_{iou}" for iou in _IOUS]
        rows.append([name, *(number(moments.metrics.get(value)) for value in values)])
    whole = [number(known[0][1].metrics.get(f"whole/{value}")) for value in in_video]
    rows.append(["the whole video", *whole, *[NO_NUMBER] * len(_IOUS)])
    heads = [*(f"IoU {iou}" for iou in _IOUS), "mean IoU", *(f"corpus {iou}" for iou in _IOUS)]
    caption = "Moments: R@1 in the right video, and of the first video of the corpus"
    yield Table(caption, ("model", *heads), rows)


def _branches(cells: Sequence[Cell]) -> Iterator[Block]:
    """SumR of each branch, and diagnostics of collapse."""
    known = [cell for cell in cells if cell.scores.others]
    rows = []
    for cell in known:
        others = cell.scores.others
        sums = [number(others.get(f"{branch}/{SUM}")) for branch in ("clip", "frame")]
        collapse = [number(others.get(f"collapse/{name}"), 3) for name in _COLLAPSE]
        rows.append([cell.subject.name, *sums, *collapse])
    heads = ("model", "clip SumR", "frame SumR", *_COLLAPSE.values())
    if known:
        yield Table("Branches and collapse", heads, rows)


def _slices(matrix: Matrix, cells: Sequence[Cell]) -> Iterator[Block]:
    """SumR in each slice: of a model alone, or of each model beside the baseline."""
    (baseline,) = [cell for cell in cells if cell.subject is matrix.baseline]
    if not baseline.scores.slices:
        return
    others = [cell for cell in cells if cell is not baseline]
    if not others:
        yield _slices_of(baseline)
    yield from (_slice_differences(cell, baseline) for cell in others)


def _slices_of(cell: Cell) -> Table:
    rows = [
        [*names, number(score.sum_of_recalls.value), interval_text(score.sum_of_recalls.interval)]
        for names, score in zip(_slice_names(cell), cell.scores.slices, strict=True)
    ]
    caption = f"SumR by own video in slices: {cell.subject.name}"
    return Table(caption, ("slice", "captions", SUM, _INTERVAL), rows)


def _slice_differences(cell: Cell, baseline: Cell) -> Table:
    rows = [
        [*names, number(other.sum_of_recalls.value), number(own.sum_of_recalls.value),
         signed(gain.value), interval_text(gain.interval),
         gain.verdict.value]
        for names, own, other, gain in zip(
            _slice_names(cell), cell.scores.slices, baseline.scores.slices, cell.slice_differences,
            strict=True)
    ]  # fmt: skip
    name, reference = cell.subject.name, baseline.subject.name
    heads = ("slice", "captions", reference, name, "difference", _INTERVAL, "verdict")
    numbers: list[Align] = ["right"] * (len(heads) - 2)
    caption = f"SumR by own video in slices: {name} against {reference}"
    return Table(caption, heads, rows, align=("left", *numbers, "left"))


def _slice_names(cell: Cell) -> list[list[str]]:
    """Name and number of captions of each slice."""
    every = [score.slice for score in cell.scores.slices]
    return [[f"{each.kind}: {each.part}", str(int(each.captions.sum()))] for each in every]


def _notes(matrix: Matrix) -> list[str]:
    lines = ["Intervals are for these models on new videos like those of the split."]
    if matrix.num_differences:
        lines.append(
            f"Differences are from {matrix.baseline.name}, in SumR, paired by query. Verdicts are "
            f"corrected over {count(matrix.num_differences, 'difference')}, those in slices over "
            "the slices of a model; intervals are not."
        )
    return [*lines, *(f"Note: {note}" for note in matrix.notes)]
