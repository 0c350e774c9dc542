"""Errors of sweeps that are shown to the user, and the exit codes of commands."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.base.text import command, suggestion
from prvr_model.errors import PrvrError

# Exit codes of commands that raise no error; an error carries its own.
NOT_TRACKED = 1
FINISHED_WITH_FAILURES = 4
INTERRUPTED = 130


class SpecError(PrvrError):
    """A sweep's YAML or an override is invalid; `problems` holds every line shown."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class SweepExistsError(PrvrError):
    """A sweep of this name exists; a new one must not be mixed with it.

    Args:
        name: Its name.
        storage: The database that holds it, and how many trials it has.
        advice: What to do; None: the general advice.
        home: Its home, for the general advice; None: the default.
    """

    exit_code = 2

    def __init__(
        self, name: str, storage: str, advice: str | None = None, home: Path | None = None
    ) -> None:
        self.name = name
        otherwise = (
            f"look at it with `{command('status', name, home=home)}`, continue it with "
            f"`{command('resume', name, home=home)}`, or launch under another name (--set name=...)"
        )
        super().__init__(f"sweep {name!r} exists already in {storage}; {advice or otherwise}")


class QueryError(PrvrError):
    """A query cannot be asked as it was given."""

    exit_code = 2


class EvaluationError(PrvrError):
    """Models cannot be evaluated on the stores that were named."""

    exit_code = 3


class ResumeError(PrvrError):
    """A sweep cannot be resumed, or not with the requested changes."""

    exit_code = 2


class ReproductionError(PrvrError):
    """The trial that was named cannot be run again."""

    exit_code = 2


class SweepNotFoundError(PrvrError):
    """No sweep of this name is in the study.

    Args:
        name: The name.
        storage: The database.
        names: Names of the sweeps that it holds.
        note: What else is known; None: nothing.
    """

    exit_code = 2

    def __init__(
        self, name: str, storage: str, names: Sequence[str], note: str | None = None
    ) -> None:
        self.name = name
        there = f"{', '.join(sorted(names)) or 'none'}{suggestion(name, names)}"
        found = f"no sweep {name!r} in {storage}; sweeps there: {there}"
        super().__init__(f"{found}; {note}" if note else found)


def lost_log(sweep: str) -> str:
    """What is said of a study whose write-ahead log is not there."""
    return (
        "the file is a copy without the study.db-wal that was beside it, which holds what the "
        f"driver wrote last; copy that too, or let the owner of the home run `prvr-sweep sync "
        f"{sweep}` and copy again"
    )


_STUDY_ADVICE = {
    "study.db-wal": "if it is lost for good, launch under another name (--set name=...)",
    "locked": "end the program that holds it, e.g. a copy, a viewer or a backup, then continue "
    "with `{resume}`",
    "full": "free space on its disk, then continue with `{resume}`",
    "readonly": "make the file and its folder writable",
    "Permission denied": "make the file and its folder readable",
    "unable to open": "make the file and its folder readable and writable",
    "I/O error": "check that its disk is mounted and has free space, then continue with `{resume}`",
    "table schema": "`{doctor}` says how to mend it",
}
_NO_SERVER = "check that it can be reached, then continue with `{resume}`"
_DAMAGED_STUDY = (
    "move it away, with the files -wal and -shm beside it, and put a copy back. Without a copy "
    "launch the sweep under another name (--set name=...): the trials' folders are intact, and "
    "complete trials are copied from them, not trained again"
)


class StudyDatabaseError(PrvrError):
    """The database of the studies is damaged, locked by another process, or cannot be written.

    Args:
        database: The file, or the address.
        found: The database's own error text.
    """

    exit_code = 3

    def __init__(self, database: str, found: str) -> None:
        self.database, self.found = database, found
        known = (value for word, value in _STUDY_ADVICE.items() if word in found)
        advice = next(known, _NO_SERVER if "://" in database else _DAMAGED_STUDY)
        home = None if "://" in database else Path(database).parent
        mends = advice.format(
            resume=command("resume", "SWEEP", home=home), doctor=command("doctor", home=home)
        )
        super().__init__(f"the studies' database {database} cannot be used: {found}; {mends}")


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


class NotifyError(PrvrError):
    """Nobody can be told by what was given as `--notify` or in `PRVR_NOTIFY`.

    Args:
        found: What is wrong with it, without its secrets, and what is allowed.
    """

    exit_code = 2

    def __init__(self, found: str) -> None:
        super().__init__(f"--notify (or PRVR_NOTIFY): {found}")


class ClusterError(PrvrError):
    """The running cluster that was named cannot be used, or not in this way."""

    exit_code = 2


class ProbeError(PrvrError):
    """The training step could not be timed; the plan is made without its time."""


_RAY_ADVICE = (
    "`prvr-sweep doctor` checks this machine; with --executor inline trials run in this process, "
    "without Ray"
)


class RayChangedError(PrvrError):
    """The installed Ray lacks a private name that the executor relies on."""

    def __init__(self, missing: str) -> None:
        super().__init__(
            f"the installed Ray lacks what prvr-sweep relies on ({missing}); install the version "
            "in constraints.txt, or run trials in this process with --executor inline"
        )


class RayFailedError(PrvrError):
    """Ray cannot be loaded, does not start, or fails while trials run; what they reported is safe.

    Args:
        found: What it does not do, and what it raised.
        advice: What to do.
    """

    def __init__(self, found: str, advice: str = _RAY_ADVICE) -> None:
        self.found = found
        super().__init__(f"{found}; {advice}")


class NodeLeavingError(PrvrError):
    """The node of a trial is being drained; the trial saved itself and continues elsewhere."""

    def __init__(self) -> None:
        super().__init__("the node is being drained; the trial saved a checkpoint and stopped")


class NoSlotError(PrvrError):
    """The workers of a trial could not be placed and started in time.

    Args:
        workers: Number of workers.
        each: What each asked for, in words.
        limit_s: Seconds that the trial waited.
    """

    def __init__(self, workers: int, each: str, limit_s: float) -> None:
        super().__init__(
            f"{workers} workers with {each} each found no slot within {limit_s:.0f} s, or did not "
            "start in it; `ray status` shows what occupies the nodes and what is missing; free a "
            "slot, or lower resources.workers"
        )


class SlotLostError(NoSlotError):
    """A trial lost a worker's process or node after its start, and found no new slot in time."""


class NothingStartsError(PrvrError):
    """Trials wait for a slot and none runs; the sweep ends with the trials it has.

    Args:
        limit_s: Seconds that they waited.
        lack: What a trial asks for and what the nodes have, in words.
        resume: The command that continues the sweep.
    """

    exit_code = 2

    def __init__(self, limit_s: float, lack: str, resume: str = "prvr-sweep resume SWEEP") -> None:
        self.limit_s, self.lack = limit_s, lack
        super().__init__(
            f"no trial started within {limit_s:.0f} s: {lack}. `ray status` shows what "
            f"occupies the nodes and what is missing; `{resume}` continues when there is room"
        )


class ClusterFileError(PrvrError):
    """A file for `ray up` is wrong; one line for each problem."""

    exit_code = 2


class DrainAgentError(PrvrError):
    """This machine has no Ray node to drain, or several."""


class ServeError(PrvrError):
    """The service cannot be started as was asked."""

    exit_code = 2


class TrackingError(PrvrError):
    """The tracking store that was named cannot be used."""

    exit_code = 2


class TrackingOutageError(PrvrError):
    """The tracking store cannot be reached or fails; meanwhile the study keeps everything."""


class RegistryError(PrvrError):
    """The model or version that was named is not in the registry."""

    exit_code = 2


class OutcomesError(PrvrError):
    """Ranks in a trial's folder cannot be read."""

    exit_code = 3


class StatisticsError(PrvrError):
    """Runs cannot be compared with each other."""

    exit_code = 3
