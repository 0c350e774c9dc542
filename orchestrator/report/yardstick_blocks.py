"""The part of a report that holds training against the frozen features."""

from collections.abc import Iterator

from orchestrator.report.ablation_tables import difference_table
from orchestrator.report.candidates import BEST, KNEE
from orchestrator.report.document import Block, Heading, Table
from orchestrator.report.findings import Findings
from orchestrator.report.formatting import (
    RECALL_HEADS,
    display_name,
    interval_text,
    number,
    p_text,
    signed,
)
from orchestrator.report.yardstick import FROZEN, FROZEN_NOTE, Yardstick
from orchestrator.statistics.comparison import Comparison, Verdict

_CHOSEN = (
    "The epoch of each run was chosen on these videos and nothing of the frozen features was, "
    "which favours training a little."
)


def yardstick_answer(findings: Findings) -> str:
    """By how much training beats the frozen features, or that it does not, in a sentence.

    Of an ablation the row with the best mean is compared; empty where nothing can be.
    """
    if findings.winner is None:
        return ""
    metric, best = findings.data.spec.objective.metric, findings.winner.variant
    if best is not None:
        return training_sentence(findings.yardstick, best, metric)
    who = KNEE if findings.is_knee else "the best configuration"
    return training_sentence(findings.yardstick, BEST, metric, who)


def training_sentence(
    yardstick: Yardstick | None, configuration: str, metric: str, who: str = ""
) -> str:
    """The same of any configuration that the yardstick has, called `who` where that is given."""
    comparison = yardstick.against_strongest(configuration) if yardstick else None
    return _sentence(comparison, metric, who or configuration) if comparison else ""


def _sentence(comparison: Comparison, metric: str, who: str) -> str:
    contrast = comparison.contrast
    form = contrast.reference.removeprefix(FROZEN)
    if comparison.estimate.num_seeds < 2:
        interval = comparison.estimate.interval_of_videos(comparison.criterion.level)
        return (
            f"One run of {who} differs from the frozen features, by {form}, by "
            f"{signed(comparison.difference)} {metric} ({interval_text(interval)} for this one "
            "model on new videos); whether training beats them takes two seeds."
        )
    evidence = f"({interval_text(comparison.interval)}; {p_text(comparison.corrected_p)})"
    size = number(abs(comparison.difference))
    if comparison.verdict is Verdict.REAL:
        return (
            f"Training beats the frozen features: {who} is above their {form} by {size} {evidence}."
        )
    if comparison.verdict is Verdict.WORSE:
        return (
            f"Training does not reach the frozen features: {who} is below their {form} by {size} "
            f"{evidence}."
        )
    return (
        f"Training is not shown to beat the frozen features: {who} against their {form} "
        f"{signed(comparison.difference)} {evidence}."
    )


def yardstick_blocks(yardstick: Yardstick, metric: str) -> Iterator[Block]:
    """A search's section: the frozen features, and the best configuration against them."""
    yield Heading("Against the frozen features")
    yield Table(
        "Recalls of the frozen features on validation",
        ("row", *RECALL_HEADS, f"95 % interval of {display_name(metric)}"),
        [[row.name, *row.recall_cells(), interval_text(row.interval)] for row in yardstick.rows],
        notes=[FROZEN_NOTE],
    )
    yield from yardstick_differences(yardstick, metric)


def yardstick_differences(yardstick: Yardstick, metric: str) -> Iterator[Block]:
    """Every configuration against every form; empty where nothing can be compared."""
    if yardstick.table is not None:
        yield difference_table(
            yardstick.table,
            f"Differences of {display_name(metric)} from the frozen features, paired by video",
            [_CHOSEN],
        )
