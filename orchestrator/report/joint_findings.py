"""What a sweep over several data sets found: the rows on each, and over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.base.errors import SweepNotFoundError
from orchestrator.report.findings import AblationFinding, row_finding
from orchestrator.report.reading import Run, SweepData, read_sweep
from orchestrator.report.transfer import Transfer, transfer_of
from orchestrator.report.yardstick import Yardstick, yardstick
from orchestrator.spec.joint import JointSpec
from orchestrator.statistics.comparison import Contrast, contrasts_of
from orchestrator.statistics.outcomes import VariantRuns, kept_outcome
from orchestrator.statistics.racing import Extension
from orchestrator.statistics.several_data import JointTable, make_joint_table
from orchestrator.statistics.table import ComparisonTable, make_table
from orchestrator.study.confirmation import confirmed_configurations, crowned, row_name
from orchestrator.study.joint_record import opened_joint
from orchestrator.study.money import Cost, cost_by, total_cost
from orchestrator.study.outcomes import row_runs
from orchestrator.study.reader import JUDGED_SEEDS
from orchestrator.study.trial import TrialSummary


@dataclass(frozen=True)
class DataSetFinding:
    """What the part on one data set found.

    Args:
        data: The part as it was read; the runs of a search are those of its confirmation.
        rows: Its rows and their comparisons, corrected over this data set.
        winner: The trial whose checkpoint represents it; None if no trial is complete.
        yardstick: What the frozen features of the data retrieve; None if not known.
    """

    data: SweepData
    rows: AblationFinding
    winner: TrialSummary | None
    yardstick: Yardstick | None


@dataclass(frozen=True)
class JointFindings:
    """What all parts found.

    Args:
        spec: The sweep.
        home: Its home, absolute.
        parts: Each part that has begun, by data set.
        table: The comparisons over all data sets; None while one of them has nothing to compare.
        transfer: Winners on the other data sets; None if not scored.
        problems: What could not be read, a sentence each.
    """

    spec: JointSpec
    home: Path
    parts: dict[str, DataSetFinding]
    table: JointTable | None
    transfer: Transfer | None
    problems: list[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The metric that is compared."""
        return self.spec.first.objective.metric

    @property
    def cost(self) -> Cost | None:
        """What the trials of all parts cost; None without prices."""
        return total_cost(cost_by(part.data.spec, part.data.study) for part in self.parts.values())

    @property
    def to_come(self) -> tuple[str, ...]:
        """Data sets whose part has not begun."""
        return tuple(data for data in self.spec.parts if data not in self.parts)

    @property
    def num_unfinished(self) -> int:
        """Runs that are still to come in the parts that have begun."""
        return sum(row.unfinished for part in self.parts.values() for row in part.rows.rows)


@dataclass(frozen=True)
class _Part:
    """A part that was read and is not compared yet."""

    data: SweepData
    runs: tuple[VariantRuns, ...]
    num_seeds: int
    extension: Extension | None


def find_joint(home: Path, name: str) -> JointFindings:
    """Everything that a joint report says, also while the sweep runs.

    Raises:
        SweepNotFoundError: The home has no sweep over several data sets of this name.
        SpecError: Another version wrote a spec, which this one cannot read.
    """
    record, spec = opened_joint(home, name)
    read = {data: _read(home, sweep, spec) for data, sweep in record.parts.items()}
    parts = {data: part for data, part in read.items() if part is not None}
    table = _joint_table(spec, parts)
    found = {
        data: _found(part, table.of_data[data] if table else _alone(part, spec))
        for data, part in parts.items()
    }
    problems = [
        f"{data}: {problem}"
        for data, part in parts.items()
        for problem in dict.fromkeys(part.data.problems)
    ]
    return JointFindings(spec, home.resolve(), found, table, transfer_of(home, name), problems)


def _read(home: Path, sweep: str, spec: JointSpec) -> _Part | None:
    """A part with its runs; None if it has not begun, or has no row yet."""
    try:
        data = read_sweep(home, sweep)
    except SweepNotFoundError:
        return None
    names, num_seeds = [row.name for row in data.spec.rows], 0
    if data.spec.ablation is not None:
        num_seeds = data.spec.ablation.num_seeds
    elif data.spec.confirm is not None:
        names, num_seeds = list(confirmed_configurations(data.study)), data.spec.confirm.seeds
        data = replace(data, runs=tuple(map(_as_row, _confirming(data.runs))))
    if not names:
        return None
    judged = tuple(data.attributes.get(JUDGED_SEEDS, ()))
    runs = _runs(data, names)
    return _Part(data, runs, num_seeds, Extension(judged) if judged else None)


def _confirming(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.trial.confirms is not None]


def _as_row(run: Run) -> Run:
    """A fresh run of a confirmed trial as a run of the row of that trial."""
    return replace(run, trial=replace(run.trial, variant=row_name(run.trial.confirms or 0)))


def _runs(data: SweepData, names: Sequence[str]) -> tuple[VariantRuns, ...]:
    """Outcomes of every row; none where nothing can be compared."""
    outcome, videos = kept_outcome(data.spec.objective.metric), data.videos
    if outcome is None or videos is None:
        return ()
    trials = [run.trial for run in data.runs]
    return tuple(
        row_runs(name, trials, videos, outcome, lambda error: data.problems.append(str(error)))
        for name in names
    )


def _contrasts(spec: JointSpec, runs: Sequence[VariantRuns]) -> tuple[Contrast, ...]:
    ablation = spec.first.ablation
    is_ladder = ablation is not None and ablation.design == "ladder"
    return contrasts_of([row.name for row in runs], is_ladder)


def _joint_table(spec: JointSpec, parts: dict[str, _Part]) -> JointTable | None:
    """The comparisons over all; None while a data set has no complete run."""
    has_runs = [any(row.seeds for row in part.runs) for part in parts.values()]
    if len(parts) < len(spec.parts) or not all(has_runs):
        return None
    runs = {data: part.runs for data, part in parts.items()}
    counts = {
        data: part.data.videos.counts
        for data, part in parts.items()
        if part.data.videos is not None
    }
    extensions = {data: part.extension for data, part in parts.items()}
    return make_joint_table(runs, counts, _contrasts(spec, next(iter(runs.values()))), extensions)


def _alone(part: _Part, spec: JointSpec) -> ComparisonTable | None:
    """The table of one data set while there is none over all."""
    if part.data.videos is None or not any(row.seeds for row in part.runs):
        return None
    counts, contrasts = part.data.videos.counts, _contrasts(spec, part.runs)
    return make_table(part.runs, counts, contrasts, extension=part.extension)


def _found(part: _Part, table: ComparisonTable | None) -> DataSetFinding:
    data = part.data
    summaries = {summary.name: summary for summary in table.summaries} if table else {}
    names = [row.name for row in data.spec.rows] or list(confirmed_configurations(data.study))
    rows = tuple(
        row_finding(data.runs, name, part.num_seeds, summaries.get(name)) for name in names
    )
    won = crowned(data.study, 1)
    compared = yardstick(data, part.runs, table) if any(row.seeds for row in part.runs) else None
    return DataSetFinding(data, AblationFinding(rows, table), won[0] if won else None, compared)
