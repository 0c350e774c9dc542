"""The answer of a sweep in two sentences."""

import math
from collections.abc import Sequence

from scipy.stats import t

from orchestrator.report.findings import AblationFinding, Findings, SearchFinding
from orchestrator.report.formatting import (
    interval_text,
    not_compared,
    number,
    p_text,
    signed,
    with_spread,
)
from orchestrator.statistics.comparison import Comparison, Verdict
from orchestrator.statistics.power import MOST_SEEDS
from orchestrator.statistics.table import ComparisonTable, Summary
from orchestrator.study.confirmation import Confirmed


def answer(findings: Findings) -> str:
    """What the sweep says to its question, and what it does not."""
    if findings.winner is None:
        return "No trial is complete yet: there is no answer."
    if findings.ablation is not None:
        return _of_ablation(findings, findings.ablation)
    assert findings.search is not None, "a sweep is a search or an ablation"
    return _of_search(findings, findings.search)


def _of_ablation(findings: Findings, ablation: AblationFinding) -> str:
    metric = findings.data.spec.objective.metric
    table = ablation.table
    if why := not_compared(metric):
        return why
    if table is None:
        return (
            "Nothing can be compared: the ranks of the runs or the data they were ranked on are "
            "not here. The means below are no answer, since they have no interval."
        )
    if not table.comparisons:
        return _variance(table, metric)
    shown = [one for one in table.comparisons if one.verdict is not Verdict.NOT_SHOWN]
    open_ones = [one for one in table.comparisons if one.verdict is Verdict.NOT_SHOWN]
    return f"{_shown(shown, metric)} {_not_shown(open_ones)}".strip()


def _variance(table: ComparisonTable, metric: str) -> str:
    (row,) = table.summaries
    if len(row.seeds) < 2:
        return f"One seed says nothing of how {metric} varies; it takes two or more."
    return (
        f"Between {len(row.seeds)} seeds {metric} is {number(row.mean)} with a standard deviation "
        f"of {number(row.standard_deviation)}. By the seed alone a run differs by more "
        f"than {number(_one_of_twenty(row))} from another in one of twenty cases."
    )


def _one_of_twenty(row: Summary) -> float:
    """What the difference of two new runs exceeds so often, few seeds having given its spread."""
    freedom = len(row.seeds) - 1
    return float(math.sqrt(2) * t.isf(0.025, freedom) * row.standard_deviation)


def _shown(comparisons: Sequence[Comparison], metric: str) -> str:
    if not comparisons:
        return f"No difference of {metric} in this table is shown to be real."
    texts = [
        f"{one.contrast.variant} is {'worse' if one.difference < 0 else 'better'} than "
        f"{one.contrast.reference} by {number(abs(one.difference))} "
        f"({interval_text(one.interval)}; {p_text(one.corrected_p)})"
        for one in comparisons
    ]
    return f"Real, in {metric}: {'; '.join(texts)}."


def _not_shown(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    texts = [
        f"{one.contrast.variant} against {one.contrast.reference} ({signed(one.difference)}"
        f"{_need(one)})"
        for one in comparisons
    ]
    return f"Not shown: {'; '.join(texts)}."


def _need(comparison: Comparison) -> str:
    need = comparison.need
    if need is None:
        return ""
    if need.videos is not None:
        return f", needs more than {need.videos} videos"
    seeds = f"about {need.seeds}" if need.seeds is not None else f"more than {MOST_SEEDS}"
    return f", needs {seeds} seeds"


def _of_search(findings: Findings, search: SearchFinding) -> str:
    winner, metric = findings.winner, findings.data.spec.objective.metric
    assert winner is not None, "an answer needs a complete trial"
    if search.confirmed:
        best = search.confirmed[0]
        fresh = with_spread((best.mean, best.standard_deviation))
        return (
            f"The configuration of trial {best.searched.number} is crowned by fresh seeds: "
            f"{metric} {fresh} in {len(best.runs)} runs. {_chosen(findings, best)}"
        )
    return (
        f"Trial {winner.number} is best: {metric} {number(winner.value)} at epoch "
        f"{winner.best_epoch}. {_optimism(findings)}"
    )


def _chosen(findings: Findings, best: Confirmed) -> str:
    """How the value that it was chosen by compares with what came of it."""
    found = best.searched.value or 0.0
    sign = 1 if findings.data.study.direction == "maximize" else -1
    gain = sign * (found - best.mean)
    text = f"The search had found {number(found)} for it"
    if gain > 0:
        return f"{text}, which is better by {number(gain)}: a value that was chosen is optimistic."
    return f"{text}, which its fresh runs bear out."


def _optimism(findings: Findings) -> str:
    selection = findings.selection
    if selection is None or selection.optimism is None:
        return "How much of it is luck of the choice is not known: it was not run on fresh seeds."
    return (
        f"It is the best of {selection.candidates} epochs of all trials; on new videos about "
        f"{number(selection.honest)} is to be expected, and it was not run on fresh seeds."
    )
