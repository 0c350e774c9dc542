"""The trials that a sampler learns from: all up to a limit, beyond it the best and some others.

A sampler reads every known trial for every draw, so that a draw would cost more with each trial.
Which trials it is given depends on the known trials, the seed and the number of the new trial
alone; nothing is recorded, and a resumed sweep draws the same.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.study.seeds import derived_seed

MOST_TRIALS = 500
"""Finished trials that a sampler is given; `tests/benchmarks/capped_search` compares limits."""
# TPE has at most 25 trials among its good ones (Optuna's `default_gamma`).
_NUM_BEST = 25
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class LimitedSampler(BaseSampler):
    """Another sampler that is given informative trials of the study alone.

    Args:
        sampler: Draws the values.
        seed: Seed of the search.
        limit: Finished trials that it is given at most; None: `MOST_TRIALS`.
    """

    def __init__(self, sampler: BaseSampler, seed: int, limit: int | None = None) -> None:
        self._sampler = sampler
        self._seed = seed
        self._limit = limit or MOST_TRIALS
        self._given: tuple[int, list[FrozenTrial]] | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What the sampler draws together."""
        # The first question about a trial; nothing else happens until it is drawn.
        self._given = None
        return self._sampler.infer_relative_search_space(self._seen(study, trial), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values that the sampler draws together."""
        return self._sampler.sample_relative(self._seen(study, trial), trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401
        """A value that the sampler draws by itself."""
        seen = self._seen(study, trial)
        return self._sampler.sample_independent(seen, trial, param_name, param_distribution)

    def _seen(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        if len(study.directions) > 1:
            # Several objectives have no order that says which trials are best.
            return study
        if self._given is None or self._given[0] != trial.number:
            known = study._get_trials(deepcopy=False)
            seed = derived_seed(self._seed, trial.number, "known trials")
            maximize = study.direction is StudyDirection.MAXIMIZE
            self._given = trial.number, informative(known, self._limit, seed, maximize=maximize)
        return cast("optuna.Study", _StudyWithLess(study, self._given[1]))


def informative(
    trials: Sequence[FrozenTrial], limit: int, seed: int, *, maximize: bool
) -> list[FrozenTrial]:
    """The best finished trials, a random sample of the other finished ones, and all unfinished.

    Args:
        trials: Trials in the order in which they began.
        limit: Number of finished trials, if there are more.
        seed: Seed of the sample.
        maximize: Whether larger values are better.

    Returns:
        The trials in the same order.
    """
    finished = [place for place, trial in enumerate(trials) if trial.state in _FINISHED]
    if len(finished) <= limit:
        return list(trials)
    num_best = min(_NUM_BEST, limit // 2)
    best = set(_best(trials, finished, num_best, maximize=maximize))
    others = [place for place in finished if place not in best]
    generator = np.random.default_rng(seed)
    sample = generator.choice(others, limit - len(best), replace=False).tolist()
    left_out = set(others).difference(sample)
    return [trial for place, trial in enumerate(trials) if place not in left_out]


def _best(
    trials: Sequence[FrozenTrial], places: Sequence[int], count: int, *, maximize: bool
) -> list[int]:
    """Places of the best trials as TPE orders them: complete ones, then those that got further.

    None exceeds a limit of cost.
    """
    sign = -1.0 if maximize else 1.0
    complete = [
        place
        for place in places
        if trials[place].state is TrialState.COMPLETE and _is_feasible(trials[place])
    ]
    badness = sign * np.array([trials[place].value for place in complete], float)
    best = [complete[k] for k in np.argsort(badness, kind="stable")[:count]]
    if len(best) < count:
        pruned = [place for place in places if trials[place].state is TrialState.PRUNED]
        pruned.sort(key=lambda place: _badness_of_pruned(trials[place], sign))
        best += pruned[: count - len(best)]
    return best


def _is_feasible(trial: FrozenTrial) -> bool:
    return all(excess <= 0 for excess in trial.constraints.values())


def _badness_of_pruned(trial: FrozenTrial, sign: float) -> tuple[int, float]:
    last = trial.last_step
    return (0, 0.0) if last is None else (-last, sign * trial.intermediate_values[last])


class _StudyWithLess:
    """A study as a sampler reads it, with some of its trials."""

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._given = trials

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._study, name)

    def get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._given if states is None or trial.state in states]

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Sequence[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return self.get_trials(deepcopy, states)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()
