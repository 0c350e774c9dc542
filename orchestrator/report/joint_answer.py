"""The answer of a sweep over several data sets, in a few sentences."""

from collections.abc import Sequence

from orchestrator.report.formatting import interval_text, not_compared, number, p_text, signed
from orchestrator.report.joint_findings import DataSetFinding, JointFindings
from orchestrator.report.transfer import SUM, Transfer, TransferCell
from orchestrator.report.yardstick_blocks import training_sentence
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.several_data import JointComparison
from orchestrator.statistics.wording import seeds_text
from orchestrator.study.confirmation import row_name


def joint_answer(found: JointFindings) -> str:
    """What holds over all data sets, where it differs between them, and what transfers."""
    if why := not_compared(found.metric):
        return why
    if found.table is None:
        return (
            "There is no answer over all data sets yet: that takes complete runs, their ranks and "
            f"the data of each of {listed(tuple(found.spec.parts))}."
        )
    comparisons = found.table.comparisons
    if not comparisons:
        return "One row is compared with nothing: the tables show how it varies on each data set."
    texts = [
        f"On the mean over {listed(tuple(found.spec.parts))}: {_means(comparisons, found.metric)}",
        _between(comparisons),
        transfer_answer(found.transfer) if found.transfer else "",
    ]
    return " ".join(text for text in texts if text)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _means(comparisons: Sequence[JointComparison], metric: str) -> str:
    shown = [each for each in comparisons if each.verdict is not Verdict.NOT_SHOWN]
    rest = len(comparisons) - len(shown)
    if not shown:
        return f"no difference of {metric} is shown to be real."
    texts = [
        f"{each.contrast.variant} is {'worse' if each.difference < 0 else 'better'} than "
        f"{each.contrast.reference} by {number(abs(each.difference))} "
        f"({interval_text(each.interval)}; {p_text(each.corrected_p)})"
        for each in shown
    ]
    more = f" Not shown: {rest} more." if rest else ""
    return f"real, in {metric}: {'; '.join(texts)}.{more}"


def _between(comparisons: Sequence[JointComparison]) -> str:
    """Where gains differ between data sets."""
    known = [each for each in comparisons if each.between is not None]
    texts = [
        f"{each.contrast.variant} against {each.contrast.reference} on {each.between.data} "
        f"({signed(each.between.difference)} beside the others; "
        f"{p_text(each.between.corrected_p)})"
        for each in known
        if each.between is not None and each.between.is_shown
    ]
    if texts:
        return f"Gains differ between data sets: {'; '.join(texts)}."
    return "That gains differ between data sets is not shown." if known else ""


def joint_verdict(comparison: JointComparison) -> str:
    """The verdict; where nothing is shown, also why."""
    if comparison.verdict is not Verdict.NOT_SHOWN:
        return comparison.verdict.value
    return f"{Verdict.NOT_SHOWN.value} ({_why(comparison)})"


def _why(comparison: JointComparison) -> str:
    for data, estimate in comparison.estimates.items():
        if estimate.num_seeds < 2:
            seeds = f"{estimate.num_seeds} shared seed{'s' * (estimate.num_seeds != 1)}"
            return f"{seeds} on {data}; needs 2 or more"
        if estimate.num_videos < 2:
            return f"one video on {data}; needs 2 or more"
    need = comparison.need
    if need is None:
        return "no variation between seeds and videos to judge by"
    if not comparison.difference:
        return "no difference at all"
    if need.videos is not None:
        return "no number of seeds would do on these videos"
    return f"{seeds_text(need)} seeds on each data set suffice for a difference of this size"


def against_frozen(part: DataSetFinding, metric: str) -> str:
    """By how much training beats the frozen features of one data set; empty if not known."""
    if part.winner is None:
        return ""
    row, confirmed = part.winner.variant, part.winner.confirms
    if row is None and confirmed is not None:
        row = row_name(confirmed)
    return training_sentence(part.yardstick, row, metric) if row else ""


def transfer_answer(transfer: Transfer) -> str:
    """What moved winners lose against those trained there, and what does not fit."""
    moved = [cell for cell in transfer.cells if cell.source in transfer.models]
    texts = [_lost(cell) for cell in moved if cell.difference is not None]
    num_misfits = sum(bool(cell.why) for cell in moved)
    if not texts:
        return "No winner fits another data set." if num_misfits else ""
    rest = f" {num_misfits} of the other pairs do not fit." if num_misfits else ""
    return f"Moved to another data set: {'; '.join(texts)}.{rest}"


def _lost(cell: TransferCell) -> str:
    real = "" if cell.verdict is not Verdict.NOT_SHOWN else "not shown, "
    return (
        f"the winner of {cell.source} scores {signed(cell.difference)} {SUM} on {cell.target} "
        f"against the one trained there ({real}{interval_text(cell.difference_interval)}; "
        f"{p_text(cell.corrected_p)})"
    )
