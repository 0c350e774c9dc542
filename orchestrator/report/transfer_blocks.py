"""The part of a report that moves each data set's winner to the others."""

from collections.abc import Iterator, Sequence

from orchestrator.report.document import Block, Heading, Table
from orchestrator.report.formatting import interval_text, number, p_text, signed
from orchestrator.report.joint_figures import transfer_figure
from orchestrator.report.transfer import SUM, Transfer, TransferCell, cell_text
from orchestrator.statistics.comparison import Verdict


def transfer_blocks(transfer: Transfer) -> Iterator[Block]:
    """The matrix, what is lost or gained against the model trained there, and its figure."""
    yield Heading("From one data set to another")
    yield _values(transfer)
    yield from transfer_figure(transfer)
    if any(cell.difference is not None for cell in transfer.cells):
        yield _differences(transfer)


def _values(transfer: Transfer) -> Table:
    heads = ("winner of", *(f"on {data}, {split}" for data, split in transfer.splits.items()))
    return Table(
        f"{SUM} of each data set's winner on each data set, with 95 % intervals",
        heads,
        [
            [transfer.row_name(source), *(_value(cell) for cell in _row(transfer, source))]
            for source in transfer.sources
        ],
        notes=[
            "Each cell is one model, the winner's best run; right is each query's own video; the "
            "interval is for new videos.",
            *transfer.notes,
        ],
    )


def _row(transfer: Transfer, source: str) -> Sequence[TransferCell]:
    return [transfer.cell(source, target) for target in transfer.targets]


def _value(cell: TransferCell) -> str:
    return cell_text(cell, f"{number(cell.value)} ({interval_text(cell.interval)})")


def _differences(transfer: Transfer) -> Table:
    rows = [
        [transfer.row_name(source), *(_difference(cell) for cell in _row(transfer, source))]
        for source in transfer.sources
    ]
    return Table(
        f"Difference of {SUM} from the winner that was trained there, by query",
        ("winner of", *(f"on {data}" for data in transfer.targets)),
        rows,
        notes=[
            "Real and worse: shown for these models on new videos; p is corrected over the matrix "
            "(Holm), intervals are each difference's own."
        ],
    )


def _difference(cell: TransferCell) -> str:
    if cell.difference is None:
        return cell_text(cell, "itself" if cell.source == cell.target else "")
    verdict = cell.verdict.value if cell.verdict is not Verdict.NOT_SHOWN else "not shown"
    size = f"{signed(cell.difference)} ({interval_text(cell.difference_interval)})"
    return f"{size}, {verdict}, {p_text(cell.corrected_p)}"
