"""What came of several objectives and limits: the front, who is crowned and why, what is over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study.confirmation import crowned
from orchestrator.study.goals import Goals
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary

OVER_LIMIT = "over a limit"
"""What trials that exceed a limit and were not trained are counted as."""


@dataclass(frozen=True)
class Front:
    """What a search with several objectives or limits of cost has come to.

    Args:
        goals: Its objectives and limits.
        members: Trials that no other one beats, the best by the first objective first; empty for a
            single objective.
        knee: The member nearest to the best of all objectives at once; None without members.
        crowned: The trial that wins; None if none is complete and within the limits.
        untrained: Trials that were not trained, since they exceed a limit.
        exceeding: Trials whose measured costs exceed one.
    """

    goals: Goals
    members: tuple[TrialSummary, ...]
    knee: TrialSummary | None
    crowned: TrialSummary | None
    untrained: tuple[TrialSummary, ...]
    exceeding: tuple[TrialSummary, ...]

    @classmethod
    def of(cls, study: StudyReader) -> "Front | None":
        """The front of a study; None with a single objective and no limit."""
        goals, trials = study.goals, study.summaries()
        if not goals:
            return None
        members = study.front()
        trained = (trial for trial in trials if trial.over_limit is None)
        return cls(
            goals,
            members,
            goals.knee(members),
            next(iter(crowned(study, 1)), None),
            tuple(trial for trial in trials if _is_untrained(trial)),
            tuple(trial for trial in trained if goals.over_limit(trial.costs)),
        )

    @property
    def reason(self) -> str:
        """Why the crowned trial wins; empty without one, and where fresh seeds decided."""
        if self.crowned is None or self.crowned.confirms is not None:
            return ""
        return self.goals.reason(len(self.members))

    def marks(self, trial: TrialSummary) -> list[str]:
        """What a trial is: crowned, the knee."""
        marked = {"crowned": self.crowned, "knee": self.knee}
        return [name for name, one in marked.items() if one and one.number == trial.number]

    def shown_counts(self, counts: Mapping[TrialState, int]) -> dict[str, int]:
        """Trials by state, those that were not trained apart from the pruned ones."""
        shown = {str(state): number for state, number in counts.items()}
        pruned = shown[TrialState.PRUNED] - len(self.untrained)
        return {**shown, TrialState.PRUNED: pruned, OVER_LIMIT: len(self.untrained)}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self.goals.to_json(),
            "members": [
                {"trial": trial.number, "value": trial.value, "costs": dict(trial.costs)}
                for trial in self.members
            ],
            "knee": self.knee.number if self.knee else None,
            "crowned": self.crowned.number if self.crowned else None,
            "reason": self.reason,
            "over_limit": {
                str(trial.number): trial.over_limit or self.goals.over_limit(trial.costs)
                for trial in (*self.untrained, *self.exceeding)
            },
            "untrained": [trial.number for trial in self.untrained],
        }


def shown_counts(counts: Mapping[TrialState, int], front: Front | None) -> dict[str, int]:
    """Trials by state as users see them: none of those that exceed a limit was pruned."""
    if front is None:
        return {str(state): number for state, number in counts.items()}
    return front.shown_counts(counts)


def _is_untrained(trial: TrialSummary) -> bool:
    # After a kill before it was told so, the next driver tells it.
    return trial.over_limit is not None and trial.state is TrialState.PRUNED
