"""Errors of sweeps that a user can cause or must hear of, and the exit codes of commands."""

from collections.abc import Sequence

from prvr_model.errors import PrvrError

# Of a command without an error of its own; an error carries its exit code.
NOT_TRACKED = 1
FINISHED_WITH_FAILURES = 4
INTERRUPTED = 130


class SpecError(PrvrError):
    """A sweep's YAML, or an override of it, cannot be used; `problems` holds every line shown."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class SweepExistsError(PrvrError):
    """A sweep of this name is in the study already and must not be mixed with a new one.

    Args:
        name: Its name.
        storage: Where it is and what is in it.
        advice: What to do; None: look at it or take another name.
    """

    exit_code = 2

    def __init__(self, name: str, storage: str, advice: str | None = None) -> None:
        self.name = name
        otherwise = (
            f"look at it with `prvr-sweep status {name}`, go on with it with `prvr-sweep resume "
            f"{name}`, or launch under another name (--set name=...)"
        )
        super().__init__(f"sweep {name!r} exists already in {storage}; {advice or otherwise}")


class ResumeError(PrvrError):
    """A sweep cannot go on, or not in the way that was asked for."""

    exit_code = 2


class ReproductionError(PrvrError):
    """A trial that cannot be run again was named."""

    exit_code = 2


class SweepNotFoundError(PrvrError):
    """No sweep of this name is in the study."""

    exit_code = 2

    def __init__(self, name: str, storage: str, names: Sequence[str]) -> None:
        self.name = name
        there = ", ".join(sorted(names)) or "none"
        super().__init__(f"no sweep {name!r} in {storage}; sweeps there: {there}")


_STUDY_ADVICE = {
    "locked": "end what holds it, e.g. a copy, a viewer or a backup, and go on with `prvr-sweep "
    "resume`",
    "full": "make room on its disk and go on with `prvr-sweep resume`",
    "readonly": "see that the file and its folder can be written",
    "unable to open": "see that the file and its folder can be read and written",
    "I/O error": "see that its disk is there and has room, and go on with `prvr-sweep resume`",
    "table schema": "`prvr-sweep doctor` says what mends it",
}
_NO_SERVER = "see that it can be reached, and go on with `prvr-sweep resume`"
_DAMAGED_STUDY = (
    "move it away, with the files -wal and -shm beside it, and put a copy back. Without a copy "
    "launch the sweep under another name (--set name=...): the trials' folders are intact, and "
    "what is complete in them is taken over, not trained again"
)


class StudyDatabaseError(PrvrError):
    """The database of the studies is damaged, held by others, or cannot be written.

    Args:
        place: The file, or the address.
        found: What was found, in the database's words.
    """

    exit_code = 3

    def __init__(self, place: str, found: str) -> None:
        self.place, self.found = place, found
        known = (value for word, value in _STUDY_ADVICE.items() if word in found)
        advice = next(known, _NO_SERVER if "://" in place else _DAMAGED_STUDY)
        super().__init__(f"the studies' database {place} cannot be used: {found}; {advice}")


class HomeLockedError(PrvrError):
    """Another driver writes to this home; two would spoil each other's study.

    Args:
        home: The folder.
        holder: The process and since when, in words.
    """

    exit_code = 2

    def __init__(self, home: str, holder: str) -> None:
        super().__init__(
            f"{holder} runs a sweep in {home}; wait for it, stop it with Ctrl-C, "
            "or use another folder with --home"
        )


class LocationError(PrvrError):
    """The home or the storage that was named cannot be used."""

    exit_code = 2


class ClusterError(PrvrError):
    """The running cluster that was named cannot be attached to, or not in this way."""

    exit_code = 2


class ProbeError(PrvrError):
    """The training step could not be timed; a plan goes on without."""


class RayChangedError(PrvrError):
    """The installed Ray lacks something private that the executor relies on."""

    def __init__(self, missing: str) -> None:
        super().__init__(
            f"the installed Ray lacks what prvr-sweep relies on ({missing}); install the version "
            "in constraints.txt, or run trials in this process with --executor inline"
        )


class NodeLeavingError(PrvrError):
    """The node of a trial is being drained; the trial saved itself and continues elsewhere."""

    def __init__(self) -> None:
        super().__init__("the node is being drained; the trial saved itself and left")


class NoSlotError(PrvrError):
    """The workers of a trial could not be placed and started in time.

    Args:
        workers: How many.
        each: What each asked for, in words.
        limit_s: The time.
    """

    def __init__(self, workers: int, each: str, limit_s: float) -> None:
        super().__init__(
            f"{workers} workers with {each} each found no place within {limit_s:.0f} s, or did not "
            "start there; look with `ray status` for what occupies the nodes or is missing, or "
            "lower resources.workers"
        )


class SlotLostError(NoSlotError):
    """The workers of a trial had started, lost a process or node, and found no other in time."""


class NothingStartsError(PrvrError):
    """Trials wait for a place and none runs; the sweep ends with what it has.

    Args:
        limit_s: How long they waited.
        lack: What a trial asks for and what there is, in words.
    """

    exit_code = 2

    def __init__(self, limit_s: float, lack: str) -> None:
        super().__init__(
            f"no trial found a place within {limit_s:.0f} s: {lack}. Look with `ray status` for "
            "what occupies the nodes or is missing; `prvr-sweep resume` goes on when there is room"
        )


class ClusterFileError(PrvrError):
    """A file for `ray up` is wrong; one line for each problem."""

    exit_code = 2


class DrainAgentError(PrvrError):
    """This machine has no Ray node to drain, or several."""


class TrackingError(PrvrError):
    """The tracking store cannot be used as it was named."""

    exit_code = 2


class TrackingOutageError(PrvrError):
    """The tracking store cannot be reached or fails; the study has everything meanwhile."""


class RegistryError(PrvrError):
    """A model or a version that is not in the registry was named."""

    exit_code = 2


class OutcomesError(PrvrError):
    """Ranks in a trial's folder cannot be read."""

    exit_code = 3


class StatisticsError(PrvrError):
    """Runs cannot be compared with each other."""

    exit_code = 3
