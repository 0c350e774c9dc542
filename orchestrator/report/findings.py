"""What a sweep found, as numbers: rows and comparisons of an ablation, or a search's winner."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from orchestrator.report.examples import Examples, find_examples
from orchestrator.report.importance import Importance, importances
from orchestrator.report.reading import Run, SweepData, outcomes_of_epochs
from orchestrator.report.slice_findings import SliceFinding, find_slices
from orchestrator.report.sweep_comparison import ComparedSweeps, compare_sweeps
from orchestrator.report.yardstick import Yardstick, yardstick
from orchestrator.spec.sweep_spec import race_of
from orchestrator.statistics.comparison import contrasts_of
from orchestrator.statistics.outcomes import VariantRuns, kept_outcome
from orchestrator.statistics.racing import Extension
from orchestrator.statistics.selection import Selection, choose_best
from orchestrator.statistics.table import ComparisonTable, Summary, make_table
from orchestrator.study.confirmation import Confirmed, confirmed_trials, crowned, searched_best
from orchestrator.study.failures import FailureGroup, grouped_failures
from orchestrator.study.front import Front
from orchestrator.study.money import Cost, cost_by
from orchestrator.study.outcomes import ablation_runs
from orchestrator.study.reader import JUDGED_SEEDS
from orchestrator.study.test_scores import Scores, kept_scores
from orchestrator.study.trial import TrialState, TrialSummary

# The optimism is estimated from the ranks of at most this many epochs, which takes minutes; a study
# with more epochs has no estimate.
_MOST_CANDIDATES = 20_000


@dataclass(frozen=True)
class RowFinding:
    """A row of an ablation.

    Args:
        name: Its name.
        runs: Its runs that ran to their end, by seed.
        failed: Number of its runs that failed.
        unfinished: Number of its runs that are still to come.
        summary: Mean and intervals over seeds and videos; None if ranks or data are missing.
        others: Its runs that failed, were stopped or still run; they count as cost.
    """

    name: str
    runs: tuple[Run, ...]
    failed: int
    unfinished: int
    summary: Summary | None
    others: tuple[Run, ...] = ()

    def values(self, metric: str) -> list[float]:
        """A metric at the best epoch of each run that has it."""
        values = (run.at_best(metric) for run in self.runs)
        return [value for value in values if value is not None]


@dataclass(frozen=True)
class AblationFinding:
    """Rows of an ablation, the baseline first, and their comparisons.

    Args:
        rows: The rows.
        table: The comparisons; None if ranks or data are missing.
    """

    rows: tuple[RowFinding, ...]
    table: ComparisonTable | None


@dataclass(frozen=True)
class SearchFinding:
    """The results of a search.

    Args:
        best: Complete trials that the search made, best first.
        confirmed: Configurations with fresh runs, the best mean first.
        importance: Which parameters mattered.
    """

    best: tuple[TrialSummary, ...]
    confirmed: tuple[Confirmed, ...]
    importance: Importance


@dataclass(frozen=True)
class Findings:
    """What a sweep found.

    Args:
        data: The sweep as it was read.
        ablation: The table of an ablation; None for a search.
        search: The results of a search; None for an ablation.
        winner: The trial whose checkpoint represents the sweep; None if no trial is complete.
        selection: The choice of its epoch among those of all trials, and how optimistic its value
            is; None if ranks or data are missing.
        failures: Failed trials by cause.
        test: Scores on test of the trials that were selected.
        against: The comparison with another sweep; None if none was named.
        yardstick: What frozen features retrieve, and how training compares; None if not known.
        slices: Where the winner gains and loses; None where nothing can be compared.
        examples: Single queries; None without ranks or data.
        cost: What its trials cost; None without prices.
        front: What came of several objectives and limits; None without any.
    """

    data: SweepData
    ablation: AblationFinding | None
    search: SearchFinding | None
    winner: TrialSummary | None
    selection: Selection | None
    failures: tuple[FailureGroup, ...]
    test: Scores
    against: ComparedSweeps | None = None
    yardstick: Yardstick | None = None
    slices: SliceFinding | None = None
    examples: Examples | None = None
    cost: Cost | None = None
    front: Front | None = None

    @property
    def is_knee(self) -> bool:
        """Whether the winner was chosen as the knee of a front, not by its value alone."""
        return self.front is not None and self.front.goals.crown == "knee"


def find(data: SweepData, other: SweepData | None = None) -> Findings:
    """Everything that a report says about a sweep."""
    runs = _runs_of_rows(data)
    ablation = _ablation(data, runs) if data.spec.ablation is not None else None
    best = crowned(data.study, 1)
    return Findings(
        data=data,
        ablation=ablation,
        search=None if ablation else _search(data),
        winner=best[0] if best else None,
        selection=_selection(data),
        failures=grouped_failures(run.trial for run in data.runs),
        test=kept_scores(data.study),
        against=None if other is None else compare_sweeps(data, other),
        yardstick=yardstick(data, runs, ablation.table if ablation else None),
        slices=find_slices(data, _look_share(ablation)),
        examples=find_examples(data),
        cost=cost_by(data.spec, data.study),
        front=Front.of(data.study),
    )


def spread(values: Sequence[float]) -> tuple[float, float | None] | None:
    """Mean and standard deviation, which is None for one value; None for no value."""
    if not values:
        return None
    return fmean(values), stdev(values) if len(values) > 1 else None


def _look_share(ablation: AblationFinding | None) -> float:
    """The smallest share of the level that a comparison of the table has."""
    table = ablation.table if ablation else None
    shares = [each.criterion.look_share for each in table.comparisons] if table else []
    return min(shares, default=1.0)


def _ablation(data: SweepData, runs: Sequence[VariantRuns]) -> AblationFinding:
    table = _table(data, runs)
    summaries = {summary.name: summary for summary in table.summaries} if table else {}
    seeds = data.spec.ablation.num_seeds if data.spec.ablation else 0
    rows = [
        row_finding(data.runs, row.name, seeds, summaries.get(row.name)) for row in data.spec.rows
    ]
    return AblationFinding(tuple(rows), table)


def _runs_of_rows(data: SweepData) -> tuple[VariantRuns, ...]:
    """Runs of every row of an ablation; none of a search, or where nothing can be compared."""
    videos = data.videos
    if data.spec.ablation is None or videos is None:
        return ()
    if kept_outcome(data.spec.objective.metric) is None:
        return ()
    runs = ablation_runs(
        data.spec, data.study, videos, lambda error: data.problems.append(str(error))
    )
    return runs if any(row.seeds for row in runs) else ()


def _table(data: SweepData, runs: Sequence[VariantRuns]) -> ComparisonTable | None:
    ablation, videos = data.spec.ablation, data.videos
    if ablation is None or videos is None or not runs:
        return None
    contrasts = contrasts_of([row.name for row in runs], ablation.design == "ladder")
    judged = tuple(data.attributes.get(JUDGED_SEEDS, ()))
    extension = Extension(judged) if judged else None
    return make_table(runs, videos.counts, contrasts, race=race_of(data.spec), extension=extension)


def row_finding(
    runs: Sequence[Run], name: str, num_seeds: int, summary: Summary | None
) -> RowFinding:
    """A row of a table.

    Args:
        runs: Runs of all rows.
        name: The row.
        num_seeds: Seeds that it is to have at least.
        summary: Mean and intervals; None if they are not known.
    """
    own = [run for run in runs if run.trial.variant == name]
    complete = sorted((run for run in own if run.is_complete), key=lambda run: run.trial.seed or 0)
    others = tuple(run for run in own if not run.is_complete)
    num_failed = sum(run.trial.state is TrialState.FAILED for run in others)
    unfinished = max(len(own), num_seeds) - num_failed - len(complete)
    return RowFinding(name, tuple(complete), num_failed, unfinished, summary, others)


def _search(data: SweepData) -> SearchFinding:
    return SearchFinding(
        best=searched_best(data.study),
        confirmed=confirmed_trials(data.study),
        importance=importances(data.spec, data.study),
    )


def _selection(data: SweepData) -> Selection | None:
    """The best value among all epochs of the trials that could win; fresh runs are no candidates.

    The knee is not chosen by its value alone; its epoch is.
    """
    goals = data.study.goals
    runs = [run for run in data.complete() if run.trial.confirms is None]
    runs = [run for run in runs if goals.is_feasible(run.trial)]
    if goals.crown == "knee":
        knee = crowned(data.study, 1)
        runs = [run for run in runs if run.trial.number == knee[0].number] if knee else []
    are_too_many = sum(len(run.epochs) for run in runs) > _MOST_CANDIDATES
    has_ranks = kept_outcome(data.spec.objective.metric) is not None
    if data.videos is None or not has_ranks or are_too_many or data.study.direction != "maximize":
        return None
    totals = outcomes_of_epochs(data, runs)
    return choose_best(totals, data.videos.counts) if len(totals) else None
