"""The Python API: a sweep that was launched, resumed or opened, on one data set or several."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.base.addresses import home_folder, user_location, user_path
from orchestrator.base.text import DEFAULT_HOME
from orchestrator.joint.launch import JointHooks, launch_joint, resume_joint
from orchestrator.joint.status import joint_status
from orchestrator.joint.sweep import JointSweep
from orchestrator.spec.joint import JointSpec
from orchestrator.spec.loading import load_any
from orchestrator.spec.quick_run import load_any_quick
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.joint_record import joint_record
from orchestrator.study.money import Cost
from orchestrator.sweep.handle import Sweep
from orchestrator.sweep.launch import launch as run_launch
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.progress import Progress, SilentProgress
from orchestrator.sweep.resume import ResumeRequest
from orchestrator.sweep.resume import resume as run_resume
from orchestrator.tracking.store import TrackingStore

if TYPE_CHECKING:
    from orchestrator.report.formats import Format


@dataclass(frozen=True)
class Sweeps:
    """A sweep over several data sets, also while another process runs it; changes nothing.

    Args:
        name: Its name.
        home: Its home folder.
    """

    name: str
    home: Path

    @property
    def parts(self) -> Mapping[str, Sweep]:
        """The sweep on each data set that has begun, in the order in which they run."""
        joint = JointSweep.open(self.home, self.name)
        return {data: Sweep(joint.spec.parts[data].name, self.home) for data in joint.begun}

    @property
    def state(self) -> str:
        """That of the part that is not finished; `unfinished`: a data set has not begun."""
        return joint_status(self.home, self.name).state

    @property
    def cost(self) -> Cost | None:
        """What the trials of all data sets cost so far; None without prices."""
        return joint_status(self.home, self.name).cost

    def report(self, wanted: "Format" = "md") -> str:
        """The report over all data sets as text.

        Args:
            wanted: `md`, `tex`, `html` or `json`.
        """
        from orchestrator.report.joint_findings import find_joint
        from orchestrator.report.joint_publishing import render_joint

        return render_joint(find_joint(self.home, self.name), wanted)


AnySweep: TypeAlias = Sweep | Any
"""A `Sweep`, or `Sweeps` where `data` names several data sets.

Not a union of both, by which type checkers would have every user of one data set ask which it is.
"""


def open_sweep(name: str, home: str | Path = DEFAULT_HOME) -> AnySweep:
    """Open a sweep to read it.

    Args:
        name: Its name.
        home: Its home folder.

    Raises:
        SweepNotFoundError: There is no such sweep in the home.
    """
    folder = home_folder(home)
    if joint_record(folder, name) is not None:
        return Sweeps(name, folder)
    sweep = Sweep(name, folder)
    _ = sweep.study  # Opened once, so that a misspelt name is an error here.
    return sweep


def launch(
    space: SweepSpec | JointSpec | str | Path,
    home: str | Path = DEFAULT_HOME,
    *,
    overrides: tuple[str, ...] = (),
    quick: bool = False,
    progress: Progress | None = None,
    **options: Any,  # noqa: ANN401  (those of the command line, see below)
) -> AnySweep:
    """Run a new sweep to its end: its trials, its report, its registration.

    Over several data sets it is a sweep for each, one after the other.

    Args:
        space: The sweep, or the path of its YAML file.
        home: Where it keeps its study and, unless `storage` says otherwise, its trials.
        overrides: Changes of the file, `path=value` each.
        quick: Shrink the file's sweep to see that everything works; its numbers mean nothing.
        progress: Shows what happens, on one data set after the other; None: nothing is shown.
        **options: `storage` (absolute path or URI of the trials' folders), `tracking_uri` (of
            MLflow), `executor` (`tune` or `inline`), `address` (of a running Ray cluster).

    Returns:
        The sweep, also where the user interrupted it: its `state` says so.

    Raises:
        SpecError: The file or an override is wrong; all problems at once.
        SweepExistsError: There is a sweep of this name in the home.
        DataError: The data is missing or damaged.
        TypeError: There is no such option, or a spec comes with `overrides` or `quick`.
    """
    spec = _spec(space, overrides, quick=quick)
    folder = home_folder(home)
    tracking = TrackingStore.of(options.pop("tracking_uri", None), folder)
    storage = options.pop("storage", None)
    meant = None if storage is None else user_location(storage)
    locations = SweepLocations(folder, meant, tracking)
    shown = progress or SilentProgress()
    if isinstance(spec, JointSpec):
        launch_joint(spec, locations, _hooks(shown), **options)
        return Sweeps(spec.name, folder)
    run_launch(spec, locations, shown, **options)
    return Sweep(spec.name, folder)


def resume(
    name: str,
    home: str | Path = DEFAULT_HOME,
    *,
    progress: Progress | None = None,
    **changes: Any,  # noqa: ANN401  (fields of ResumeRequest, see below)
) -> AnySweep:
    """Run what is left of a sweep, or give it more to do.

    Args:
        name: Its name.
        home: Its home folder.
        progress: Shows what happens, on one data set after the other; None: nothing is shown.
        **changes: `trials`, `epochs`, `seeds`, `budget`, `prices`, `storage`, `tracking_uri`,
            `executor`, `address`, as `ResumeRequest` explains them.

    Raises:
        SweepNotFoundError: There is no such sweep in the home.
        ResumeError: It cannot be resumed, or not in this way.
        TypeError: There is no such change.
    """
    folder = home_folder(home)
    if changes.get("storage") is not None:
        changes["storage"] = user_location(changes["storage"])
    shown = progress or SilentProgress()
    request = ResumeRequest(name, folder, **changes)
    if joint_record(folder, name) is not None:
        resume_joint(request, _hooks(shown))
        return Sweeps(name, folder)
    run_resume(request, shown, shown.warn)
    return Sweep(name, folder)


def _hooks(shown: Progress) -> JointHooks:
    return JointHooks(lambda: shown, shown.warn)


def _spec(
    space: SweepSpec | JointSpec | str | Path, overrides: tuple[str, ...], *, quick: bool
) -> SweepSpec | JointSpec:
    if not isinstance(space, SweepSpec | JointSpec):
        return (load_any_quick if quick else load_any)(user_path(space), overrides)
    if overrides or quick:
        raise TypeError("overrides and quick change a YAML file; name its path, not a spec")
    return space
