"""How long trials may wait for a place while none runs; Tune itself would wait for ever.

The last node that fits may be gone, or others may hold what the trials need. No trial has failed
then: the sweep ends and can go on later.
"""

import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

from orchestrator.base.errors import NothingStartsError
from orchestrator.base.text import in_words

Room: TypeAlias = Callable[[], tuple[Mapping[str, float], Mapping[str, float]]]
"""Gives what there is, and what of it is free, as resources of Ray."""

# Processes have started by then, unless they have no place.
_WARNING_S = 60.0
# Within one step of Tune's nothing is seen to start, however long it takes.
_LONGEST_STEP_S = 5.0


class StartLimit:
    """Counts the time; looks at the room only where it has something to say.

    Args:
        limit_s: Seconds after which waiting ends the sweep.
        room: See `Room`.
        warn: Takes a line for the user.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        limit_s: float,
        room: Room,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = limit_s
        self._room = room
        self._warn = warn
        self._clock = clock
        self._seen_s = clock()
        self._waited_s = 0.0
        self._has_warned = False

    def look(self, asked: Mapping[str, float] | None) -> None:
        """Take note of a step.

        Args:
            asked: What a waiting trial asks for; None: none waits, or one runs.

        Raises:
            NothingStartsError: Trials have waited too long.
        """
        now_s = self._clock()
        step_s, self._seen_s = min(now_s - self._seen_s, _LONGEST_STEP_S), now_s
        if asked is None:
            self._waited_s, self._has_warned = 0.0, False
            return
        self._waited_s += step_s
        if self._waited_s >= self._limit_s:
            raise NothingStartsError(self._limit_s, self._lack(asked))
        if self._waited_s >= min(_WARNING_S, self._limit_s / 2) and not self._has_warned:
            self._has_warned = True
            self._warn(
                f"no trial has found a place for {self._waited_s:.0f} s: {self._lack(asked)}; the "
                f"sweep ends when it has waited for {self._limit_s:.0f} s"
            )

    def _lack(self, asked: Mapping[str, float]) -> str:
        there, free = (
            in_words({name: room.get(name, 0.0) for name in asked}) for room in self._room()
        )
        return f"one asks for {in_words(asked)}; all nodes together have {there} (free: {free})"
