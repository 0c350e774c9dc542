"""The Python API: a sweep that was launched, resumed or opened."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.addresses import home_folder, user_location, user_path
from orchestrator.base.text import DEFAULT_HOME
from orchestrator.spec.loading import load_spec, read_spec
from orchestrator.spec.quick_run import load_quick
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import crowned
from orchestrator.study.money import Cost, sweep_cost
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialSummary
from orchestrator.sweep.launch import launch as run_launch
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.progress import Progress, SilentProgress
from orchestrator.sweep.resume import ResumeRequest
from orchestrator.sweep.resume import resume as run_resume
from orchestrator.tracking.store import TrackingStore

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.report.formats import Format
    from orchestrator.study.tables import TableName


class Sweep:
    """A sweep of a home, also while another process runs it; looking at it changes nothing.

    Args:
        name: Its name.
        home: Its home folder.
    """

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home

    @property
    def study(self) -> StudyReader:
        """Its study as it is now."""
        return StudyReader.open(study_url(self.home), self.name)

    @property
    def state(self) -> str:
        """`running`, `finished`, `interrupted` or `lost` (its driver is gone)."""
        from orchestrator.sweep.status import read_status

        return str(read_status(self.home, self.name).state)

    @property
    def best(self) -> TrialSummary | None:
        """The winner; None if no trial is complete.

        After a confirmation, and in an ablation, the best run of the configuration whose mean is
        best. With several objectives or limits the trial that `crown` names, within the limits.
        """
        return next(iter(crowned(self.study, 1)), None)

    @property
    def cost(self) -> Cost | None:
        """What its trials cost so far; None without prices.

        Raises:
            SpecError: The file that `PRVR_PRICES` names is no list of prices.
        """
        return sweep_cost(self.study)

    def front(self) -> tuple[TrialSummary, ...]:
        """Trials that no other one beats, the best by the first objective first.

        Empty in a sweep of a single objective.
        """
        return self.study.front()

    def trials(self) -> "pa.Table":
        """One row per trial, see `orchestrator.study.tables.trials_table`."""
        from orchestrator.study.tables import trials_table

        return trials_table(self.study)

    def epochs(self) -> "pa.Table":
        """One row per epoch, see `orchestrator.study.tables.epochs_table`."""
        from orchestrator.study.tables import epochs_table

        return epochs_table(self.study)

    def ranks(self) -> "pa.Table":
        """One row per trial and validation query, see `orchestrator.study.tables.ranks_table`."""
        from orchestrator.study.tables import ranks_table

        return ranks_table(self.study)

    def queries(self) -> "pa.Table":
        """One row per validation query, see `orchestrator.study.tables.queries_table`.

        Raises:
            StoreError: The sweep's data is missing or damaged.
        """
        from orchestrator.spec.data import open_data
        from orchestrator.study.tables import queries_table

        spec = read_spec(self.study.attributes["spec_yaml"], source=f"sweep {self.name}")
        return queries_table(open_data(spec.data, self.home, lambda _: None, generates=False))

    def table(self, what: "TableName") -> "pa.Table":
        """One of the tables by name."""
        tables = {
            "trials": self.trials,
            "epochs": self.epochs,
            "ranks": self.ranks,
            "queries": self.queries,
        }
        return tables[what]()

    def report(self, wanted: "Format" = "md", *, compare: str | None = None) -> str:
        """The report as text.

        Args:
            wanted: `md`, `tex`, `html` or `json`.
            compare: Another sweep of the home, to compare this one with.

        Raises:
            SweepNotFoundError: The home has no sweep named `compare`.
        """
        from orchestrator.report.publishing import render
        from orchestrator.report.publishing import report as read

        return render(read(self.home, self.name, compare), wanted)

    def __repr__(self) -> str:
        return f"Sweep({self.name!r}, home={str(self.home)!r})"


def open_sweep(name: str, home: str | Path = DEFAULT_HOME) -> Sweep:
    """Open a sweep to read it.

    Args:
        name: Its name.
        home: Its home folder.

    Raises:
        SweepNotFoundError: There is no such sweep in the home.
    """
    sweep = Sweep(name, home_folder(home))
    _ = sweep.study  # Opened once, so that a misspelt name is an error here.
    return sweep


def launch(
    space: SweepSpec | str | Path,
    home: str | Path = DEFAULT_HOME,
    *,
    overrides: tuple[str, ...] = (),
    quick: bool = False,
    progress: Progress | None = None,
    **options: Any,  # noqa: ANN401  (those of the command line, see below)
) -> Sweep:
    """Run a new sweep to its end: its trials, its report, its registration.

    Args:
        space: The sweep, or the path of its YAML file.
        home: Where it keeps its study and, unless `storage` says otherwise, its trials.
        overrides: Changes of the file, `path=value` each.
        quick: Shrink the file's sweep to see that everything works; its numbers mean nothing.
        progress: Shows what happens; None: nothing is shown.
        **options: `storage` (absolute path or URI of the trials' folders), `tracking_uri` (of
            MLflow), `executor` (`tune` or `inline`), `address` (of a running Ray cluster).

    Returns:
        The sweep, also where the user interrupted it: its `state` says so.

    Raises:
        SpecError: The file or an override is wrong; all problems at once.
        SweepExistsError: There is a sweep of this name in the home.
        DataError: The data is missing or damaged.
        TypeError: There is no such option, or a `SweepSpec` comes with `overrides` or `quick`.
    """
    spec = _spec(space, overrides, quick=quick)
    folder = home_folder(home)
    tracking = TrackingStore.of(options.pop("tracking_uri", None), folder)
    storage = options.pop("storage", None)
    meant = None if storage is None else user_location(storage)
    locations = SweepLocations(folder, meant, tracking)
    run_launch(spec, locations, progress or SilentProgress(), **options)
    return Sweep(spec.name, folder)


def resume(
    name: str,
    home: str | Path = DEFAULT_HOME,
    *,
    progress: Progress | None = None,
    **changes: Any,  # noqa: ANN401  (fields of ResumeRequest, see below)
) -> Sweep:
    """Run what is left of a sweep, or give it more to do.

    Args:
        name: Its name.
        home: Its home folder.
        progress: Shows what happens; None: nothing is shown.
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
    run_resume(ResumeRequest(name, folder, **changes), shown, shown.warn)
    return Sweep(name, folder)


def _spec(space: SweepSpec | str | Path, overrides: tuple[str, ...], *, quick: bool) -> SweepSpec:
    if not isinstance(space, SweepSpec):
        return (load_quick if quick else load_spec)(user_path(space), overrides)
    if overrides or quick:
        raise TypeError("overrides and quick change a YAML file; name its path, not a SweepSpec")
    return space
