"""The plot of an objective against a cost: all trials, what was reached for how much, the front."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from orchestrator.report.drawing import COLOURS, SOFT, drawn, new_canvas, number_ticks, styled
from orchestrator.report.formatting import display_name
from orchestrator.report.marks import mark, trial_key
from orchestrator.report.reading import SweepData
from orchestrator.study.front import Front
from orchestrator.study.goals import cost_text
from orchestrator.study.trial import TrialState, TrialSummary

# Costs that are further apart than this are easier to read on a logarithmic axis.
_LOG_RATIO = 6.0
# Room on either side, as a share of the range.
_MARGIN = 0.06
_PALE = 0.45
# Height of the marks of trials without a value, as a share of the axes.
_FOOT = 0.03


def front_figure(data: SweepData, front: Front, cost: str) -> str:
    """The plot; empty where no trial has both numbers."""
    searched = [run.trial for run in data.runs if run.trial.confirms is None]
    known = [trial for trial in searched if cost in trial.costs]
    valued = [trial for trial in known if trial.value is not None]
    if not valued:
        return ""
    with styled():
        canvas = new_canvas(4.4)
        axes = canvas.add_subplot()
        limit = front.goals.limits.get(cost)
        end = _scale(axes, [trial.costs[cost] for trial in known], limit)
        sign = 1 if data.study.direction == "maximize" else -1
        _draw_reached(axes, front, searched, _Reached(cost, sign, end if limit is None else limit))
        _draw_trials(axes, front, known, cost)
        _draw_front(axes, front, cost)
        if limit is not None:
            axes.axvline(limit, color=SOFT, linestyle="--", label="limit")
        axes.set(xlabel=display_name(cost), ylabel=data.spec.objective.metric)
        handles, labels = axes.get_legend_handles_labels()
        below: Any = {"loc": "outside lower center", "ncols": 4}
        canvas.legend(handles, labels, **below)
        return drawn(canvas)


def _scale(axes: Axes, costs: Sequence[float], limit: float | None) -> float:
    """Ticks and room for all costs and the limit; gives the right end."""
    every = [*costs, *([limit] if limit is not None else [])]
    low, high = min(every), max(every)
    is_log = low > 0 and high / low > _LOG_RATIO
    number_ticks(axes, low, high, is_log=is_log)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: cost_text(value)))
    if is_log:
        factor: float = (high / low) ** _MARGIN
        start, end = low / factor, high * factor
    else:
        room = (high - low or abs(high) or 1.0) * _MARGIN
        start, end = low - room, high + room
    axes.set_xlim(start, end)
    return end


class _Reached:
    """The best value of trials that cost at most so much.

    Args:
        cost: The cost.
        sign: 1 where larger values are better, else -1.
        end: Where the line ends.
    """

    def __init__(self, cost: str, sign: int, end: float) -> None:
        self._cost = cost
        self._sign = sign
        self._end = end

    def line(self, trials: Sequence[TrialSummary]) -> Float[np.ndarray, "2 steps"]:
        """Costs and values at which it steps."""
        found = [(trial.costs[self._cost], self._sign * (trial.value or 0.0)) for trial in trials]
        # Of equal costs the best first, so that the line does not rise to it.
        pairs = sorted(found, key=lambda pair: (pair[0], -pair[1]))
        costs, values = np.array(pairs).T
        best = self._sign * np.maximum.accumulate(values)
        return np.array([[*costs, self._end], [*best, best[-1]]])


def _draw_reached(
    axes: Axes, front: Front, searched: Sequence[TrialSummary], reached: _Reached
) -> None:
    half = len(searched) // 2
    for trials, name, alpha in (
        (searched[:half], f"reached after {half} trials", _PALE),
        (searched, f"reached after all {len(searched)}", 1.0),
    ):
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        feasible = [trial for trial in complete if front.goals.is_feasible(trial)]
        if feasible:
            line = reached.line(feasible)
            axes.step(*line, where="post", color=COLOURS[1], alpha=alpha, label=name)


def _draw_trials(axes: Axes, front: Front, known: Sequence[TrialSummary], cost: str) -> None:
    """Points: complete, ended early or unfinished, over a limit; at the foot those not trained."""
    over = {trial.number for trial in (*front.exceeding, *front.untrained)}
    valued = [trial for trial in known if trial.value is not None and trial.number not in over]
    complete = [trial for trial in valued if trial.state is TrialState.COMPLETE]
    others = [trial for trial in valued if trial.state is not TrialState.COMPLETE]
    exceeding = [trial for trial in front.exceeding if trial.value is not None]
    for trials, name, style in (
        (complete, "complete", {}),
        (others, "ended early", {"markerfacecolor": "none"}),
        (exceeding, "over a limit", {"alpha": _PALE}),
    ):
        if trials:
            points = axes.plot([trial.costs[cost] for trial in trials],
                               [trial.value or 0.0 for trial in trials], "o", color=COLOURS[0],
                               label=name, **style)  # fmt: skip
            mark(points, *(trial_key(trial.number) for trial in trials))
    untrained = [trial for trial in front.untrained if cost in trial.costs]
    if untrained:
        points = axes.plot([trial.costs[cost] for trial in untrained], [_FOOT] * len(untrained),
                           "^", color=COLOURS[0], alpha=_PALE, label="over a limit, not trained",
                           transform=axes.get_xaxis_transform())  # fmt: skip
        mark(points, *(trial_key(trial.number) for trial in untrained))


def _draw_front(axes: Axes, front: Front, cost: str) -> None:
    """Rings around the front's members, and the names of the knee and the winner."""
    members = [trial for trial in front.members if cost in trial.costs]
    if members:
        rings = axes.plot([trial.costs[cost] for trial in members],
                          [trial.value or 0.0 for trial in members], "o", color=COLOURS[1],
                          markerfacecolor="none", markersize=11, label="front")  # fmt: skip
        mark(rings, *(trial_key(trial.number) for trial in members))
    named = {trial.number: trial for trial in (front.crowned, front.knee) if trial is not None}
    for trial in named.values():
        if cost in trial.costs:
            place = (trial.costs[cost], trial.value or 0.0)
            # Above the line and to the left nothing is reached.
            is_left = axes.transAxes.inverted().transform(axes.transData.transform(place))[0] < 0.3
            text = f"{', '.join(front.marks(trial))}: {trial.number}"
            axes.annotate(text, place, (0, 10), textcoords="offset points", fontsize="small",
                          ha="left" if is_left else "right")  # fmt: skip
