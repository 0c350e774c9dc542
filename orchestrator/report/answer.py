"""The answer of a sweep in two sentences, and one about the frozen features where there are any."""

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
from orchestrator.report.front_blocks import costs_text
from orchestrator.report.yardstick_blocks import yardstick_answer
from orchestrator.statistics.comparison import Comparison, Verdict
from orchestrator.statistics.table import ComparisonTable, Summary
from orchestrator.statistics.wording import seeds_text
from orchestrator.study.confirmation import Confirmed


def answer(findings: Findings) -> str:
    """The sweep's answer to its question, and what it leaves open."""
    if findings.winner is None and findings.data.complete():
        return "No complete trial is within the limits: there is no answer."
    if findings.winner is None:
        return "No trial is complete yet: there is no answer."
    if findings.ablation is not None:
        text = _of_ablation(findings, findings.ablation)
    else:
        assert findings.search is not None, "a sweep is a search or an ablation"
        text = _of_search(findings, findings.search)
    return f"{text} {yardstick_answer(findings)}".strip()


def _of_ablation(findings: Findings, ablation: AblationFinding) -> str:
    metric = findings.data.spec.objective.metric
    table = ablation.table
    if why := not_compared(metric):
        return why
    if table is None:
        return (
            "Nothing can be compared: the ranks of the runs are missing, or the data that they "
            "were ranked on. The means below are no answer, since they have no interval."
        )
    if not table.comparisons:
        return _variance(table, metric)
    shown = [each for each in table.comparisons if each.verdict is not Verdict.NOT_SHOWN]
    not_shown = [each for each in table.comparisons if each.verdict is Verdict.NOT_SHOWN]
    return f"{_shown(shown, metric)} {_not_shown(not_shown)}".strip()


def _variance(table: ComparisonTable, metric: str) -> str:
    (row,) = table.summaries
    if len(row.seeds) < 2:
        return f"One seed does not show how {metric} varies; that takes two or more."
    return (
        f"Between {len(row.seeds)} seeds {metric} is {number(row.mean)} with a standard deviation "
        f"of {number(row.standard_deviation)}. Two runs that differ in the seed alone are further "
        f"apart than {number(_one_in_twenty(row))} in one of twenty pairs."
    )


def _one_in_twenty(row: Summary) -> float:
    """What the difference of two new runs exceeds in one of twenty pairs, by Student's law."""
    freedom = len(row.seeds) - 1
    return float(math.sqrt(2) * t.isf(0.025, freedom) * row.standard_deviation)


def _shown(comparisons: Sequence[Comparison], metric: str) -> str:
    if not comparisons:
        return f"No difference of {metric} in this table is shown to be real."
    texts = [
        f"{each.contrast.variant} is {'worse' if each.difference < 0 else 'better'} than "
        f"{each.contrast.reference} by {number(abs(each.difference))} "
        f"({interval_text(each.interval)}; {p_text(each.corrected_p)})"
        for each in comparisons
    ]
    return f"Real, in {metric}: {'; '.join(texts)}."


def _not_shown(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    texts = [
        f"{each.contrast.variant} against {each.contrast.reference} ({signed(each.difference)}"
        f"{_need(each)})"
        for each in comparisons
    ]
    return f"Not shown: {'; '.join(texts)}."


def _need(comparison: Comparison) -> str:
    need = comparison.need
    if need is None:
        return ""
    if need.videos is not None:
        return f", needs more than {need.videos} videos"
    return f", needs {seeds_text(need)} seeds"


def _of_search(findings: Findings, search: SearchFinding) -> str:
    winner, metric = findings.winner, findings.data.spec.objective.metric
    assert winner is not None, "an answer needs a complete trial"
    if search.confirmed:
        best = search.confirmed[0]
        fresh = with_spread((best.mean, best.standard_deviation))
        return (
            f"The configuration of trial {best.searched.number} is the best on fresh seeds: "
            f"{metric} {fresh} in {len(best.runs)} runs. {_searched(findings, best)}"
        )
    front = findings.front
    wins = f"wins, {front.reason}" if front is not None else "is best"
    costs = f", {costs_text(front, winner)}" if front is not None else ""
    return (
        f"Trial {winner.number} {wins}: {metric} {number(winner.value)} at epoch "
        f"{winner.best_epoch}{costs}. {_optimism(findings)}"
    )


def _searched(findings: Findings, best: Confirmed) -> str:
    """How the value that chose the configuration compares with the mean of its fresh runs."""
    searched = best.searched.value or 0.0
    sign = 1 if findings.data.study.direction == "maximize" else -1
    excess = sign * (searched - best.mean)
    text = f"The search had found {number(searched)} for it"
    if excess > 0:
        return f"{text}, which is better by {number(excess)}: a chosen value is optimistic."
    return f"{text}; its fresh runs are as good or better."


def _optimism(findings: Findings) -> str:
    selection = findings.selection
    if selection is None or selection.optimism is None:
        return "How much of that is luck is not known: it was not run on fresh seeds."
    if findings.is_knee:
        return (
            f"Its epoch is the best of {selection.candidates}: on new videos expect about "
            f"{number(selection.honest)}, and less, as the trial was chosen by these videos too. "
            "It was not run on fresh seeds."
        )
    return (
        f"It is the best of {selection.candidates} epochs of all trials, so it is partly luck: on "
        f"new videos expect about {number(selection.honest)}. It was not run on fresh seeds."
    )
