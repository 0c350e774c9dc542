"""What a sweep's winner is held against: its table's baseline, or what comes nearest to one."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.candidates import BEST, Configuration, candidates, found_name
from orchestrator.report.reading import SweepData
from orchestrator.spec.ablation import SEED
from orchestrator.spec.setting_schema import base_value
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.outcomes import kept_outcome
from orchestrator.study.confirmation import Confirmed, confirmed_trials, crowned, searched_best
from orchestrator.study.trial import TrialSummary

USUAL = "val/SumR"


@dataclass(frozen=True)
class Opponents:
    """The winner and its baseline, run for run.

    Args:
        winner: Name of the winning configuration.
        runs: Its runs.
        baseline: Name of what it is held against; empty for the frozen features.
        others: Runs of the baseline, each with the seed of the run at the same place if they share
            seeds; none for the frozen features.
        why: Which baseline that is, a sentence.
        chosen_from: Number of configurations of which the winner is the best by these videos.
    """

    winner: str
    runs: tuple[TrialSummary, ...]
    baseline: str
    others: tuple[TrialSummary, ...]
    why: str
    chosen_from: int


def opponents(data: SweepData) -> Opponents | None:
    """The winner and its baseline; None without a complete trial, or where less is better.

    An ablation's winner is held against the baseline row, or against the runner-up if it is that
    row. A search's winner is held against the published values of its preset (without a preset the
    defaults) if a trial has them, else against the runner-up on fresh seeds. What has neither is
    held against the frozen features.
    """
    if data.study.direction != "maximize" or not data.complete():
        return None
    return _of_ablation(data) if data.spec.rows else _of_search(data)


def strongest_form(data: SweepData) -> str | None:
    """The form of frozen features with the best mean by the objective; None without any.

    Where the objective is not kept of them it is the one with the best sum of recalls.
    """
    frozen = data.frozen
    outcome = kept_outcome(data.spec.objective.metric) or kept_outcome(USUAL)
    if frozen is None or outcome is None:
        return None
    known = {form: outcome.of(frozen.kept("val", form)) for form in frozen.forms}
    means = {form: float(found.mean()) for form, found in known.items() if found is not None}
    return max(means, key=lambda form: means[form], default=None)


def _of_ablation(data: SweepData) -> Opponents | None:
    configurations = {each.name: each for each in candidates(data.spec, data.study)}
    ranked = [trial.variant for trial in crowned(data.study, len(data.spec.rows))]
    best = configurations[ranked[0] or ""]
    chosen_from = max(1, len(ranked) - 1)
    baseline = data.spec.rows[0].name
    if best.name != baseline and baseline in configurations:
        why = "The baseline is that of the table."
        return _paired(best, configurations[baseline], why, chosen_from)
    if len(ranked) < 2:
        return _frozen(best.name, best.trials, 1)
    why = f"{best.name} is the baseline of the table itself, so it is held against the runner-up."
    return _paired(best, configurations[ranked[1] or ""], why, chosen_from)


def _paired(
    best: Configuration, other: Configuration, why: str, chosen_from: int
) -> Opponents | None:
    """Runs of the seeds that both have; None if they share none."""
    by_seed = {trial.seed: trial for trial in other.trials}
    pairs = [(trial, by_seed[trial.seed]) for trial in best.trials if trial.seed in by_seed]
    if not pairs:
        return None
    runs, others = zip(*pairs, strict=True)
    return Opponents(best.name, runs, other.name, others, why, chosen_from)


def _frozen(winner: str, runs: Sequence[TrialSummary], chosen_from: int) -> Opponents:
    why = "There is no other configuration to hold it against but the features themselves."
    return Opponents(winner, tuple(runs), "", (), why, chosen_from)


def _of_search(data: SweepData) -> Opponents | None:
    confirmed, searched = confirmed_trials(data.study), searched_best(data.study)
    if not searched:
        return None  # All that are complete exceed a limit.
    if set(data.spec.space) == {SEED}:
        (every,) = candidates(data.spec, data.study)
        return _frozen(every.name, every.trials, 1)
    winner = confirmed[0].searched if confirmed else searched[0]
    published = next((trial for trial in searched if _is_published(data.spec, trial)), None)
    if published is not None and published.number != winner.number:
        return _against_published(data, winner, published, confirmed)
    next_best = "the runner-up"
    if data.study.goals.crown == "knee":
        next_best = f"the best of the others on the front by {data.spec.objective.metric}"
    why = f"No other trial has {_published_values(data.spec)}, so it is held against {next_best}"
    if len(confirmed) > 1:
        return _of_fresh_runs(confirmed, confirmed[1], f"{why} on fresh seeds.")
    if data.frozen is None and len(searched) > 1:
        other = searched[1]
        name = _name(other)
        found = found_name(data.study)
        return Opponents(found, (winner,), name, (other,), f"{why}, {name}.", len(searched))
    runs = confirmed[0].runs if confirmed else (winner,)
    return _frozen(found_name(data.study), runs, len(confirmed) or len(searched))


def _against_published(
    data: SweepData, winner: TrialSummary, published: TrialSummary, confirmed: Sequence[Confirmed]
) -> Opponents | None:
    name, values = _name(published), _published_values(data.spec)
    fresh = next((each for each in confirmed if each.searched.number == published.number), None)
    if fresh is not None:
        return _of_fresh_runs(confirmed, fresh, f"{name} has {values}.")
    why = (
        f"{name} has {values}; it was run in the search alone, so the search's two trials are held"
    )
    num_searched, found = len(searched_best(data.study)), found_name(data.study)
    return Opponents(
        found, (winner,), name, (published,), f"{why} against each other.", num_searched
    )


def _of_fresh_runs(confirmed: Sequence[Confirmed], other: Confirmed, why: str) -> Opponents | None:
    best = Configuration(BEST, confirmed[0].runs)
    name = _name(other.searched)
    return _paired(best, Configuration(name, other.runs), why, len(confirmed))


def _name(trial: TrialSummary) -> str:
    return f"trial {trial.number}"


def _is_published(spec: SweepSpec, trial: TrialSummary) -> bool:
    """Whether every searched setting that it has is at the value of no search."""
    return all(
        trial.parameters[path] == base_value(path, spec.preset, {})
        for path in spec.space
        if path != SEED and path in trial.parameters
    )


def _published_values(spec: SweepSpec) -> str:
    return f"the published values of preset {spec.preset}" if spec.preset else "the default values"
