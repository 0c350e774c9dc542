"""The parts of a search's report: its best trials, confirmation, importance, figures."""

from collections.abc import Iterator

from orchestrator.report.document import Block, Figure, Heading, Paragraph, Table
from orchestrator.report.findings import Findings, SearchFinding
from orchestrator.report.formatting import display_name, last_part, number, short_number, signed
from orchestrator.report.marks import trial_key
from orchestrator.report.run_figures import collapse_figures, cost_figures
from orchestrator.report.search_figures import importance_bars, search_figures
from orchestrator.report.yardstick_blocks import yardstick_blocks
from orchestrator.study.goals import cost_text

_SHOWN_TRIALS = 10


def search_blocks(findings: Findings, search: SearchFinding, *, in_full: bool) -> Iterator[Block]:
    """All blocks, in reading order; in full with every complete trial."""
    if search.confirmed:
        yield Heading("The best on fresh seeds")
        yield _confirmed(search)
    yield Heading("The best trials of the search")
    yield _best(findings, search, None if in_full else _SHOWN_TRIALS)
    yield from search_figures(findings.data)
    yield from cost_figures(findings.data)
    yield from collapse_figures(findings.data)
    if findings.yardstick is not None:
        yield from yardstick_blocks(findings.yardstick, findings.data.spec.objective.metric)
    yield Heading("Which parameters mattered")
    yield Paragraph(f"{search.importance.statement}.{_of_what(findings)}")
    if search.importance.shares:
        yield from _caveat(findings)
        yield _importance(search)
        yield Figure(
            "Importance (PED-ANOVA): the share of each parameter in what makes a trial one of the "
            "best quarter. Dashed: chance, as in the table.",
            importance_bars(search.importance),
        )


def _confirmed(search: SearchFinding) -> Table:
    rows = [
        [
            f"trial {confirmed.searched.number}",
            number(confirmed.searched.value),
            number(confirmed.mean),
            number(confirmed.standard_deviation),
            str(len(confirmed.runs)),
            signed(confirmed.mean - (confirmed.searched.value or 0.0)),
        ]
        for confirmed in search.confirmed
    ]
    return Table(
        "The best of the search, run again on seeds that did not choose them",
        ("configuration", "searched", "fresh mean", "sd", "fresh seeds", "change"),
        rows,
        keys=[trial_key(confirmed.searched.number) for confirmed in search.confirmed],
        notes=[
            "The searched value is too high, as the trial was chosen by it; the fresh mean decides."
        ],
    )


def _best(findings: Findings, search: SearchFinding, most: int | None) -> Table:
    paths, front = list(findings.data.spec.space), findings.front
    costs = front.goals.costs if front else ()
    rows = [
        [
            str(trial.number),
            number(trial.value),
            str(trial.best_epoch),
            str(trial.epochs),
            *(cost_text(trial.costs.get(name)) for name in costs),
            *(short_number(trial.parameters.get(path)) for path in paths),
        ]
        for trial in search.best[:most]
    ]
    metric = findings.data.spec.objective.metric
    heads = ("trial", metric, "at epoch", "of", *map(display_name, costs))
    within = " within the limits" if front and front.goals.limits else ""
    order = f"the front first, then by {metric}" if front and front.members else "best first"
    more = len(search.best) - len(rows)
    notes = [f"And {more} more complete trials{within}."] if more else []
    return Table(
        f"Complete trials{within}, {order}",
        (*heads, *map(last_part, paths)),
        rows,
        notes=notes,
        keys=[trial_key(trial.number) for trial in search.best[:most]],
    )


def _of_what(findings: Findings) -> str:
    """That importance, of several objectives, is that of the first."""
    if findings.front is None or not findings.front.goals.objectives:
        return ""
    return f" This is about {findings.data.spec.objective.metric} alone, not about costs."


def _caveat(findings: Findings) -> Iterator[Block]:
    """TPE draws where values were good, so its trials are more alike than shuffled ones."""
    sampler = findings.data.spec.search
    if sampler is not None and sampler.sampler == "tpe":
        yield Paragraph(
            "TPE chose these trials by their values, so chance names a parameter more often than "
            "in one of twenty studies: in 11 of 100 simulated ones of 24 trials without any effect."
        )


def _importance(search: SearchFinding) -> Table:
    importance = search.importance
    rows = [
        [path, number(share, 3), "yes" if path in importance.named else "no"]
        for path, share in importance.shares.items()
    ]
    return Table(
        f"Importance among {importance.made_of}",
        ("parameter", "share", "above chance"),
        rows,
        notes=[
            f"Chance: {number(importance.threshold, 3)}. If the same values are shuffled among the "
            "trials, the largest share stays below it in 95 % of the shuffles."
        ],
    )
