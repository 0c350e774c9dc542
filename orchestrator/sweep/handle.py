"""A sweep of one data set as the Python API gives it, see `orchestrator.joint.handle`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.spec.loading import read_spec
from orchestrator.study.confirmation import crowned
from orchestrator.study.money import Cost, sweep_cost
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialSummary

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.report.formats import Format
    from orchestrator.study.tables import TableName


@dataclass(frozen=True)
class Sweep:
    """A sweep of a home, also while another process runs it; looking at it changes nothing.

    Args:
        name: Its name.
        home: Its home folder.
    """

    name: str
    home: Path

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
