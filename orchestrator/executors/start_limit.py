"""How long trials may wait for their start while none runs; Tune itself would wait for ever.

The last node that fits may be gone, or other jobs may hold what the trials need. That is no
failure of a trial: the sweep ends and can be resumed later.
"""

import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

from orchestrator.base.errors import NothingStartsError
from orchestrator.base.text import in_words

Room: TypeAlias = Callable[[], tuple[Mapping[str, float], Mapping[str, float]]]
"""Returns the total and the free resources of the cluster by Ray's names."""

# Processes have started by then, unless they found no slot or the machine is busy.
_WARNING_S = 60.0
# Most that one step of Tune counts: while a step runs, a start would go unnoticed.
_LONGEST_STEP_S = 5.0


class StartLimit:
    """Counts the time that trials wait; asks for the resources only when it reports.

    Args:
        limit_s: Seconds after which waiting ends the sweep.
        room: See `Room`.
        warn: Takes a line for the user.
        clock: A monotonic clock in seconds.
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
        """Count one step.

        Args:
            asked: Resources that a waiting trial asks for; None: no trial waits, or one runs.

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
                f"no trial has started for {self._waited_s:.0f} s: {self._lack(asked)}; the sweep "
                f"ends when it has waited for {self._limit_s:.0f} s"
            )

    def _lack(self, asked: Mapping[str, float]) -> str:
        total, free = (
            in_words({name: room.get(name, 0.0) for name in asked}) for room in self._room()
        )
        return (
            f"a trial asks for {in_words(asked)}; all nodes together have {total} (free: {free}; "
            "the rest is in use, or taken by processes that are slow to start)"
        )
