"""Numbers by each notion of what is correct, where the data has verified labels."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.base.errors import OutcomesError
from orchestrator.report.document import Align, Block, Table
from orchestrator.report.findings import AblationFinding, Findings, RowFinding, spread
from orchestrator.report.formatting import (
    NO_NUMBER,
    RECALLS,
    display_name,
    interval_text,
    number,
    with_spread,
)
from orchestrator.report.marks import row_key
from orchestrator.report.yardstick import FROZEN_NOTE, Yardstick
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.crossed import Interval
from orchestrator.study.outcomes import kept_of, mean_interval
from orchestrator.study.trial import TrialSummary
from prvr_model.reporting import MAP, NDCG, OWN, VERIFIED

RELEVANCE = "evaluation.relevance"
_WORDS = {OWN: "own video only", VERIFIED: "any relevant video"}
_BY_SETTING = {"annotation": _WORDS[OWN], "verified": _WORDS[VERIFIED], "same_text": "same text"}
_LABEL_NOTE = (
    "Any relevant video: all that the verified labels name are right, a caption without a label "
    "has its own. nDCG@10 and mAP count all of them, recalls the best."
)


def columns_of(group: str) -> tuple[str, ...]:
    """Metrics of a group, `own` or `verified`."""
    return (*RECALLS, NDCG, MAP) if group == VERIFIED else RECALLS


def what_is_right(spec: SweepSpec, metrics: Mapping[str, object]) -> str:
    """What the numbers without a group call correct, for a caption; empty without labels.

    Args:
        spec: The sweep.
        metrics: Metrics by name, e.g. `verified/SumR`.
    """
    settings = spec.setting_values(RELEVANCE)
    if f"{VERIFIED}/SumR" not in metrics or len(settings) > 1:
        return ""
    return f", {_BY_SETTING[settings[0]]}"


def groups_in(metrics: Mapping[str, object]) -> tuple[str, ...]:
    """Groups that metrics have beside the numbers without one."""
    return tuple(group for group in (VERIFIED, OWN) if f"{group}/SumR" in metrics)


def group_of(metric: str) -> str:
    """The group of a metric, e.g. `verified`; empty without one."""
    group = metric.split("/")[1]
    return group if group in _WORDS else ""


def metrics_of_rows(rows: Sequence[RowFinding]) -> dict[str, float]:
    """Metrics on validation that the runs of an ablation's rows have, without `val/`."""
    epochs = [run.epochs[-1] for row in rows for run in row.runs if run.epochs]
    return {
        name.removeprefix("val/"): value
        for epoch in epochs
        for name, value in epoch.metrics.items()
        if name.startswith("val/")
    }


def group_tables(
    ablation: AblationFinding, metric: str, yardstick: Yardstick | None, how: str
) -> Iterator[Block]:
    """Recalls of an ablation's rows by each group, nothing without labels.

    Args:
        ablation: The rows.
        metric: The objective, whose interval is shown in its group.
        yardstick: Frozen features; None if they are not known.
        how: How the numbers are summarised, for the caption.
    """
    frozen = yardstick.rows if yardstick else ()
    for group in groups_in(metrics_of_rows(ablation.rows)):
        names = columns_of(group)
        is_objective = group_of(metric) == group
        rows = [
            [row.name, *(with_spread(spread(row.values(f"val/{group}/{name}"))) for name in names)]
            + [interval_text(row.summary.interval if row.summary else None)] * is_objective
            for row in ablation.rows
        ]
        rows += [
            [row.name, *row.cells("val", group, names)]
            + [interval_text(row.interval)] * is_objective
            for row in frozen
        ]
        heads = ["row", *map(_head, names)]
        heads += [f"95 % interval of {_head(metric)}"] * is_objective
        notes = [*[_LABEL_NOTE] * (group == VERIFIED), *[FROZEN_NOTE] * bool(frozen)]
        caption, keys = f"Recalls on validation, {_WORDS[group]}: {how}", [*map(_key, rows)]
        yield Table(caption, heads, rows, notes=notes, keys=keys)


def _key(row: Sequence[str]) -> str:
    return row_key(row[0])


def _head(metric: str) -> str:
    return display_name(f"val/{metric.rpartition('/')[2]}")


def winner_table(findings: Findings, winner: TrialSummary) -> Iterator[Block]:
    """The winner on validation by each notion of what is correct; nothing without labels."""
    run = next(run for run in findings.data.runs if run.trial.number == winner.number)
    found = {
        name.removeprefix("val/"): run.at_best(name)
        for epoch in run.epochs[-1:]
        for name in epoch.metrics
    }
    main = what_is_right(findings.data.spec, found)
    if not groups_in(found):
        return
    views = [("", main.removeprefix(", ") or "as set")]
    views += [(group, _WORDS[group]) for group in groups_in(found) if _WORDS[group] != views[0][1]]
    intervals = _intervals(findings, winner, [group for group, _ in views])
    names = columns_of(VERIFIED)
    rows = []
    for group, words in views:
        # With relevance by labels the numbers without a group are those of the group.
        own = VERIFIED if words == _WORDS[VERIFIED] else group
        prefix = f"{own}/" if own else ""
        values = [number(found.get(f"{prefix}{name}")) for name in names]
        rows.append([f"trial {winner.number}", words, *values, intervals[group]])
        frozen = findings.yardstick.rows if findings.yardstick else ()
        rows += [[row.name, words, *row.cells("val", own, names), NO_NUMBER] for row in frozen]
    numbers: list[Align] = ["right"] * (len(names) + 1)
    heads = ("what", "right is", *map(_head, names), "95 % interval of SumR")
    yield Table(
        "The winner on validation, by what counts as right",
        heads,
        rows,
        align=("left", "left", *numbers),
        notes=["Intervals are for this model on new videos.", _LABEL_NOTE],
    )


def _intervals(findings: Findings, winner: TrialSummary, groups: Sequence[str]) -> dict[str, str]:
    """Interval of SumR by group, as text."""
    videos = findings.data.videos
    found: dict[str, Interval | None] = dict.fromkeys(groups)
    try:
        kept = kept_of(winner)
    except OutcomesError:
        kept = {}
    if videos is not None and kept:
        for group in groups:
            metric = f"val/{group}/SumR" if group else "val/SumR"
            found[group] = mean_interval(kept, metric, videos)
    return {group: interval_text(interval) for group, interval in found.items()}


def scored_tables(findings: Findings) -> Iterator[Block]:
    """Scores on test by each group; nothing without labels."""
    every: dict[str, float] = {}
    for score in findings.test.values():
        every |= score.metrics
    frozen = findings.yardstick.rows if findings.yardstick else ()
    for group in groups_in(every):
        names = columns_of(group)
        rows = [
            [
                str(trial),
                *(number(score.metrics.get(f"{group}/{name}")) for name in names),
                _interval(score.intervals.get(f"{group}/SumR")),
            ]
            for trial, score in sorted(findings.test.items())
        ]
        rows += [[row.name, *row.cells("test", group, names), NO_NUMBER] for row in frozen]
        heads = ("trial", *map(_head, names), "95 % interval of SumR")
        notes = [_LABEL_NOTE] if group == VERIFIED else []
        yield Table(f"Test, scored once, {_WORDS[group]}", heads, rows, notes=notes)


def _interval(pair: tuple[float, float] | None) -> str:
    return interval_text(Interval(*pair) if pair else None)
