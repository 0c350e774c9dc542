"""A sweep runs in rounds: once all planned trials have ended, more may follow from their results.

A race gives more seeds to rows that are undecided; a confirmation runs the best again on fresh
seeds. A round is written into the study before it begins, so that a driver that resumes after a
kill plans nothing twice.
"""

from collections.abc import Sequence

from orchestrator.base.text import count
from orchestrator.spec.sweep_spec import SweepSpec, race_of
from orchestrator.statistics.comparison import contrasts_of
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.statistics.racing import Race
from orchestrator.statistics.table import make_table, seeds_of_next_look
from orchestrator.study.confirmation import confirmations
from orchestrator.study.outcomes import ablation_runs
from orchestrator.study.planned_trials import PlannedTrial, TrialPlan, runs_of
from orchestrator.study.reader import NUM_TRIALS, StudyReader
from orchestrator.study.searcher import Searcher, num_searched, replacements
from orchestrator.study.study import SweepStudy
from orchestrator.sweep.context import ReadVideos, SweepContext
from orchestrator.sweep.progress import Progress


class Rounds:
    """Plans the rounds of a running sweep and shows how many trials it will have.

    Args:
        context: The sweep.
        study: Its study.
        searcher: Hands out its trials.
        progress: Shows what happens.
    """

    def __init__(
        self, context: SweepContext, study: SweepStudy, searcher: Searcher, progress: Progress
    ) -> None:
        self._context = context
        self._study = study
        self._searcher = searcher
        self._progress = progress

    def plan_first(self) -> None:
        """Plan the runs of an ablation that are missing."""
        self._searcher.plan(missing_runs(self._context.spec, self._searcher.planned))

    def plan_next(self) -> bool:
        """Plan the next round once every trial has ended; False if there is none."""
        spec, plan = self._context.spec, self._searcher.planned
        self._note_exhausted(plan)
        trials = next_round(spec, self._study, plan, self._context.data.videos)
        if trials:
            self._searcher.plan(trials)
            self._progress.warn(_render_round(trials))
            self.show_size()
        return bool(trials)

    def _note_exhausted(self, plan: TrialPlan) -> None:
        """Say that a search ended early, as its space has no further point."""
        searched = num_searched(self._context.spec, self._study, plan)
        more = replacements(self._context.spec, self._study)
        asked = self._study.attributes.get(NUM_TRIALS, searched - more) + more
        if self._context.spec.search is not None and searched < asked:
            self._study.set_attribute(NUM_TRIALS, searched - more)
            points = count(self._context.spec.num_points or 0, "different point")
            self._progress.warn(
                f"all {points} have been drawn: the search ends after {searched} of {asked} trials"
            )
            self.show_size()

    def show_size(self) -> None:
        """Show how many trials the sweep will have, without rounds that are not planned yet."""
        spec = self._context.spec
        maximize = spec.objective.direction == "maximize"
        self._progress.begin(self._searcher.num_wanted, spec.max_epochs, maximize)


def missing_runs(spec: SweepSpec, plan: TrialPlan) -> list[PlannedTrial]:
    """Runs that the rows of an ablation lack: each row gets every seed of the spec."""
    seeds = {row.name: spec.seeds() for row in spec.rows}
    return runs_of(spec.rows, seeds, plan.runs())


def next_round(
    spec: SweepSpec, study: StudyReader, plan: TrialPlan, videos: ReadVideos | None
) -> list[PlannedTrial]:
    """Trials of the next round; empty if the sweep is done.

    Args:
        spec: The sweep.
        study: Its study, in which nothing runs.
        plan: What was planned so far.
        videos: The video of each validation query, for a race.

    Raises:
        OutcomesError: The ranks of a complete trial cannot be read.
    """
    if spec.confirm is not None:
        return [] if plan.trials else confirmations(spec, study)
    race = race_of(spec)
    if race is None or videos is None:
        return []
    wanted = _next_look(spec, study, race, videos())
    seeds = {name: spec.seeds(num_seeds) for name, num_seeds in wanted.items()}
    return runs_of(spec.rows, seeds, plan.runs())


def _next_look(
    spec: SweepSpec, study: StudyReader, race: Race, videos: VideosOfQueries
) -> dict[str, int]:
    """Number of seeds at the next look at the results, for each row that gets more."""
    runs = ablation_runs(spec, study, videos)
    with_steps = spec.ablation is not None and spec.ablation.design == "ladder"
    contrasts = contrasts_of([row.name for row in runs], with_steps)
    table = make_table(runs, videos.counts, contrasts, race=race)
    wanted = seeds_of_next_look(runs, videos.counts, table)
    # A row whose runs all failed gets none: more runs with its settings would fail too.
    return {row.name: wanted[row.name] for row in runs if row.name in wanted and row.seeds}


def _render_round(trials: Sequence[PlannedTrial]) -> str:
    rows = sorted({trial.variant for trial in trials if trial.variant is not None})
    if rows:
        text = f"undecided after their seeds so far, rows get more: {', '.join(rows)}"
    else:
        best = sorted({trial.confirms for trial in trials if trial.confirms is not None})
        text = f"the best run again on fresh seeds: trials {', '.join(map(str, best))}"
    return f"{text} ({count(len(trials), 'trial')})"
