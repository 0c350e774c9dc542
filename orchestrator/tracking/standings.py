"""Ranks a sweep's trials: the best, the winner, the table and the note of the sweep's run.

`Standings` reads trials and changes none of them. What is asked at the end of every trial is kept
up to date, as a look at all of them would cost more with each.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from orchestrator.statistics.ranking import by_mean
from orchestrator.study.goals import Goals, cost_text
from orchestrator.tracking.run_change import as_text, rounded
from orchestrator.tracking.trial_run import Goal, TrialRun

ENDED_STATES = ("complete", "pruned", "failed")


class Standings:
    """The trials of a sweep by their values.

    Args:
        trials: The trials by number.
        goal: The sweep's objective.
        goals: Its several objectives and limits.
    """

    def __init__(self, trials: Mapping[int, TrialRun], goal: Goal, goals: Goals) -> None:
        self._trials = trials
        self._goal = goal
        self._goals = goals
        self._counts = Counter(trial.state for trial in trials.values())
        self._best = self._found_best()
        self._planned = {
            number: trial for number, trial in trials.items() if _origin(trial) is not None
        }

    def changed(self, trial: TrialRun, before: str | None) -> None:
        """Take in a trial whose state was another, or None: it is new."""
        if before is not None:
            self._counts[before] -= 1
        self._counts[trial.state] += 1
        if _origin(trial) is not None:
            self._planned[trial.number] = trial
        if self._best is not None and self._best[1] == trial.number:
            # It was continued, or ended again.
            self._best = self._found_best()
        elif _has_value(trial):
            self._best = min(self._best or self._place(trial), self._place(trial))

    def counts(self) -> dict[str, int]:
        """Number of trials by state; complete, pruned and failed are always included."""
        return {**dict.fromkeys(ENDED_STATES, 0), **+self._counts}

    def best(self) -> TrialRun | None:
        """The complete trial with the best value, within the limits."""
        if self._goals:
            return next(iter(self._complete()), None)
        return None if self._best is None else self._trials[self._best[1]]

    def _complete(self) -> list[TrialRun]:
        """Complete trials within the limits, best value first."""
        return [
            trial
            for trial in self._ordered()
            if trial.state == "complete"
            and trial.value is not None
            and self._goals.allows(trial.costs)
        ]

    def front(self) -> tuple[dict[int, str], str]:
        """Members of the front by number, `member` or `knee`, and why the winner wins."""
        members = self._goals.front([trial.summary for trial in self._complete()])
        knee = self._goals.knee(members)
        words = {
            trial.number: "knee" if knee and trial.number == knee.number else "member"
            for trial in members
        }
        return words, self._goals.reason(len(members)) if self._goals else ""

    def winner(self) -> TrialRun | None:
        """The winner as `launch` names it: by the mean over seeds where there are several."""
        groups: defaultdict[Any, list[TrialRun]] = defaultdict(list)
        for _, trial in sorted(self._planned.items()):
            if _has_value(trial) and self._goals.allows(trial.costs):
                groups[_origin(trial)].append(trial)
        if not groups and not self._goals.objectives:
            return self.best()
        if not groups:
            ranked = self._goals.ranked([trial.summary for trial in self._complete()])
            return self._trials[ranked[0].number] if ranked else None
        best = by_mean(groups.values(), _value, maximize=not self._goal.minimize)
        sign = -1 if self._goal.minimize else 1
        return max(best[0], key=lambda trial: sign * _value(trial))

    def table(self) -> dict[str, list[Any]]:
        """The trials as MLflow's table files want them: names of columns, and rows."""
        trials = self._ordered()
        searched = list(dict.fromkeys(path for trial in trials for path in trial.parameters))
        columns = ["trial", "state", self._goal.metric, "best_epoch", "epochs", *searched]
        costs = list(self._goals.costs)
        columns += [*costs, "seconds", "seed", "trial_key", "cause"]
        columns += ["front", "over_limit"] if costs else []
        return {"columns": columns, "data": [_row(trial, searched, costs) for trial in trials]}

    def note(self, question: str, answer: str) -> str:
        """The description of the sweep's run, in Markdown: question, answer and the winner."""
        winner = self.winner()
        lines = [question, *(["", answer] if answer else [])]
        if winner is None or winner.value is None:
            return "\n".join(lines)
        lines += ["", f"Best: trial {winner.number:03d}, {self._goal.metric} {winner.value:.2f}"]
        if self._goals:
            costs = [f"{name} {cost_text(winner.costs.get(name))}" for name in self._goals.costs]
            why = [] if winner.confirms is not None else [self.front()[1]]
            lines[-1] += f", {', '.join(costs)}" + "".join(f" ({text})" for text in why)
        if winner.parameters:
            lines += ["", "| parameter | value |", "|---|---|"]
            lines += [
                f"| {path} | {as_text(rounded(value))} |"
                for path, value in winner.parameters.items()
            ]
        return "\n".join(lines)

    def _found_best(self) -> tuple[float, int] | None:
        complete = filter(_has_value, self._trials.values())
        return min(map(self._place, complete), default=None)

    def _place(self, trial: TrialRun) -> tuple[float, int]:
        """Of complete trials the best has the least; of equal ones the earlier."""
        return (1 if self._goal.minimize else -1) * _value(trial), trial.number

    def _ordered(self) -> list[TrialRun]:
        """Best value first, trials without one last."""
        sign = 1 if self._goal.minimize else -1
        return sorted(
            self._trials.values(),
            key=lambda trial: (trial.value is None, sign * _value(trial), trial.number),
        )


def _origin(trial: TrialRun) -> int | str | None:
    """What a planned trial is a run of."""
    return trial.confirms if trial.confirms is not None else trial.variant


def _has_value(trial: TrialRun) -> bool:
    return trial.state == "complete" and trial.value is not None


def _value(trial: TrialRun) -> float:
    return trial.value or 0.0


def _row(trial: TrialRun, searched: list[str], costs: list[str]) -> list[Any]:
    seconds = None if trial.end_ms is None else (trial.end_ms - trial.start_ms) / 1000
    parameters = [rounded(trial.parameters.get(path)) for path in searched]
    head = [trial.number, trial.state, rounded(trial.value), trial.best_epoch, trial.epochs]
    paid = [trial.costs.get(name) for name in costs]
    row = [*head, *parameters, *paid, seconds, trial.seed, trial.key, trial.cause]
    return [*row, trial.front, trial.over_limit] if costs else row
