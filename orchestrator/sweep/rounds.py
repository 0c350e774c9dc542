"""What is to be run next once all that was planned has run: a round of a race, or a confirmation.

A sweep runs in rounds. Between two of them its driver looks at what there is; what it plans is
written down before it begins, so that a driver that goes on after a kill plans nothing twice.
"""

from collections.abc import Callable
from typing import TypeAlias

from orchestrator.spec.sweep_spec import SweepSpec, race_of
from orchestrator.statistics.comparison import contrasts_of
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.statistics.racing import Race
from orchestrator.statistics.table import make_table, seeds_of_next_look
from orchestrator.study.confirmation import confirmations
from orchestrator.study.outcomes import ablation_runs
from orchestrator.study.planned_trials import PlannedTrial, TrialPlan, runs_of
from orchestrator.study.reader import StudyReader

ReadVideos: TypeAlias = Callable[[], VideosOfQueries]
"""Gives the video of each validation query."""


def missing_runs(spec: SweepSpec, plan: TrialPlan) -> list[PlannedTrial]:
    """Runs that every row of an ablation is to have and that are not planned yet."""
    seeds = {row.name: spec.seeds() for row in spec.rows}
    return runs_of(spec.rows, seeds, plan.runs())


def next_round(
    spec: SweepSpec, study: StudyReader, plan: TrialPlan, videos: ReadVideos | None
) -> list[PlannedTrial]:
    """Trials of the next round; none: the sweep is done.

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
    seeds = {name: spec.seeds(count) for name, count in wanted.items()}
    return runs_of(spec.rows, seeds, plan.runs())


def _next_look(
    spec: SweepSpec, study: StudyReader, race: Race, videos: VideosOfQueries
) -> dict[str, int]:
    """Seeds that rows are to have at the next look, for those that get more."""
    runs = ablation_runs(spec, study, videos)
    with_steps = spec.ablation is not None and spec.ablation.design == "ladder"
    contrasts = contrasts_of([one.name for one in runs], with_steps)
    table = make_table(runs, videos.counts, contrasts, race=race)
    wanted = seeds_of_next_look(runs, videos.counts, table)
    # Where every run failed, others of the same settings would.
    return {one.name: wanted[one.name] for one in runs if one.name in wanted and one.seeds}
