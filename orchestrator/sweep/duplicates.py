"""Trials that wait for one of the same key, which is being trained."""

from collections.abc import Collection

from orchestrator.study.trial import TrialRequest

# More duplicates than this of what runs say nothing new: the sampler waits for a result, so that
# not all of a sweep is drawn blindly. Places stay empty then, which others could not have filled.
_MOST = 64


class HeldTrials:
    """Duplicates of running trials, in the order in which they came."""

    def __init__(self) -> None:
        self._held: list[TrialRequest] = []

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._held)

    @property
    def is_full(self) -> bool:
        """Whether no more should be drawn before a trial has ended."""
        return len(self._held) >= _MOST

    def hold(self, request: TrialRequest) -> None:
        """Keep a trial until the one that it waits for has ended."""
        self._held.append(request)

    def next(self, running: Collection[str]) -> TrialRequest | None:
        """The first one whose key no longer runs, as keys of running trials say; None: none."""
        for position, one in enumerate(self._held):
            if one.key not in running:
                return self._held.pop(position)
        return None
