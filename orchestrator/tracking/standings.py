"""Ranks a sweep's trials: the best, the winner, the table and the note of the sweep's run.

`Standings` reads trials and changes none of them.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from orchestrator.statistics.ranking import by_mean
from orchestrator.tracking.run_change import as_text, rounded
from orchestrator.tracking.trial_run import Goal, TrialRun

ENDED_STATES = ("complete", "pruned", "failed")


class Standings:
    """The trials of a sweep by their values.

    Args:
        trials: The trials by number.
        goal: The sweep's objective.
    """

    def __init__(self, trials: Mapping[int, TrialRun], goal: Goal) -> None:
        self._trials = trials
        self._goal = goal

    def counts(self) -> dict[str, int]:
        """Number of trials by state; complete, pruned and failed are always included."""
        counts = dict.fromkeys(ENDED_STATES, 0)
        for trial in self._trials.values():
            counts[trial.state] = counts.get(trial.state, 0) + 1
        return counts

    def best(self) -> TrialRun | None:
        """The complete trial with the best value."""
        complete = [trial for trial in self._ordered() if trial.state == "complete"]
        return complete[0] if complete and complete[0].value is not None else None

    def winner(self) -> TrialRun | None:
        """The winner as `launch` names it: by the mean over seeds where there are several."""
        groups: defaultdict[Any, list[TrialRun]] = defaultdict(list)
        for _, trial in sorted(self._trials.items()):
            origin = trial.confirms if trial.confirms is not None else trial.variant
            if trial.state == "complete" and trial.value is not None and origin is not None:
                groups[origin].append(trial)
        if not groups:
            return self.best()
        best = by_mean(groups.values(), _value, maximize=not self._goal.minimize)
        sign = -1 if self._goal.minimize else 1
        return max(best[0], key=lambda trial: sign * _value(trial))

    def table(self) -> dict[str, list[Any]]:
        """The trials as MLflow's table files want them: names of columns, and rows."""
        trials = self._ordered()
        searched = list(dict.fromkeys(path for trial in trials for path in trial.parameters))
        columns = ["trial", "state", self._goal.metric, "best_epoch", "epochs", *searched]
        columns += ["seconds", "seed", "trial_key", "cause"]
        return {"columns": columns, "data": [_row(trial, searched) for trial in trials]}

    def note(self, question: str, answer: str) -> str:
        """The description of the sweep's run, in Markdown: question, answer and the winner."""
        winner = self.winner()
        lines = [question, *(["", answer] if answer else [])]
        if winner is None or winner.value is None:
            return "\n".join(lines)
        lines += ["", f"Best: trial {winner.number:03d}, {self._goal.metric} {winner.value:.2f}"]
        if winner.parameters:
            lines += ["", "| parameter | value |", "|---|---|"]
            lines += [
                f"| {path} | {as_text(rounded(value))} |"
                for path, value in winner.parameters.items()
            ]
        return "\n".join(lines)

    def _ordered(self) -> list[TrialRun]:
        """Best value first, trials without one last."""
        sign = 1 if self._goal.minimize else -1
        return sorted(
            self._trials.values(),
            key=lambda trial: (trial.value is None, sign * _value(trial), trial.number),
        )


def _value(trial: TrialRun) -> float:
    return trial.value or 0.0


def _row(trial: TrialRun, searched: list[str]) -> list[Any]:
    seconds = None if trial.end_ms is None else (trial.end_ms - trial.start_ms) / 1000
    parameters = [rounded(trial.parameters.get(path)) for path in searched]
    head = [trial.number, trial.state, rounded(trial.value), trial.best_epoch, trial.epochs]
    return [*head, *parameters, seconds, trial.seed, trial.key, trial.cause]
