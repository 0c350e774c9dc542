"""Which trial comes next: one that was held back, a new one, or the first of the next round."""

from collections.abc import Callable, Collection

from orchestrator.study.searcher import RefusedTrial, Searcher
from orchestrator.study.trial import TrialRequest
from orchestrator.sweep.budget import BudgetGate

# With more duplicates of running trials than this, drawing waits for a result, so that not all of a
# sweep is drawn blindly. Slots stay empty meanwhile, but no other trial could fill them.
_MOST_HELD = 64


class TrialQueue:
    """Hands out trials in the order in which they begin.

    Args:
        searcher: Draws trials.
        budget: Says when no further trial may begin.
        plan_more: Plans the next round once every trial has ended; False if there is none.
    """

    def __init__(
        self, searcher: Searcher, budget: BudgetGate, plan_more: Callable[[], bool]
    ) -> None:
        self._searcher = searcher
        self._budget = budget
        self._plan_more = plan_more
        self._held: list[TrialRequest] = []

    def next(self, running: Collection[str]) -> TrialRequest | RefusedTrial | None:
        """The next trial.

        Args:
            running: Content keys of the trials that run.

        Returns:
            The trial; None if no trial can begin now.
        """
        while (trial := self._drawn(running)) is None:
            if running or self._held or self._budget.is_spent or not self._plan_more():
                return None
        return trial

    def hold(self, request: TrialRequest) -> None:
        """Hold back a duplicate of a running trial, whose result it can copy later."""
        self._held.append(request)

    def _drawn(self, running: Collection[str]) -> TrialRequest | RefusedTrial | None:
        for position, held in enumerate(self._held):
            if held.key not in running:
                return self._held.pop(position)
        if len(self._held) >= _MOST_HELD:
            return None
        if not self._searcher.has_unfinished and self._budget.refuses(is_idle=not running):
            return None
        return self._searcher.next()
