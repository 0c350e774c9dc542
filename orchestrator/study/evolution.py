"""CMA-ES as a function of seed, trial number and known trials.

Optuna's own keeps the strategy's state as a pickle in the study; here it is replayed from the known
trials, so that a resumed sweep draws the same and a study from elsewhere holds no code.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import optuna
from cmaes import CMA
from jaxtyping import Float
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.study.seeds import derived_seed

# Of the range of each parameter: the first generation reaches all of it.
_FIRST_SPREAD = 0.3
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

_Numbers: TypeAlias = Mapping[str, FloatDistribution | IntDistribution]


class ReplayedCma(RandomSampler):
    """Draws from the strategy that the known trials lead to.

    Source: Hansen, The CMA Evolution Strategy: A Tutorial, 2016. A generation is as many finished
    trials as the strategy's population, in the order in which they began; only their order by value
    counts: complete trials first, then pruned ones that got further, last those over a limit.

    Args:
        space: All parameters; two numbers or more.
        seed: Seed of the search.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed)
        self._seed = seed
        self._space: _Numbers = {
            path: distribution
            for path, distribution in space.items()
            if isinstance(distribution, FloatDistribution | IntDistribution)
            and not distribution.single()
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All numbers of the space."""
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point of the generation that the known trials lead to."""
        known = study._get_trials(deepcopy=False, states=_FINISHED, use_cache=False)
        usable = [
            past for past in known if self._space.keys() <= past.params.keys() and past.values
        ]
        seed = derived_seed(self._seed, trial.number, "")
        strategy = self._new(seed, 0)
        for generation, trials in enumerate(_parts(usable, strategy.population_size), 1):
            strategy.tell(self._ranked(trials, study.direction))
            if strategy.should_stop():
                strategy = self._new(seed, generation)
        point = strategy.ask()
        return {
            path: _value(distribution, float(share))
            for (path, distribution), share in zip(self._space.items(), point, strict=True)
        }

    def _new(self, seed: int, generation: int) -> CMA:
        """A strategy at its beginning: in the middle, later ones anywhere."""
        size = len(self._space)
        start = np.random.default_rng(derived_seed(self._seed, generation, "start"))
        mean = start.uniform(size=size) if generation else np.full(size, 0.5)
        bounds = np.tile([0.0, 1.0], (size, 1))
        return CMA(mean=mean, sigma=_FIRST_SPREAD, bounds=bounds, seed=seed)

    def _ranked(
        self, trials: Sequence[FrozenTrial], direction: StudyDirection
    ) -> list[tuple[Float[np.ndarray, "parameters"], float]]:
        sign = -1 if direction is StudyDirection.MAXIMIZE else 1

        def badness(trial: FrozenTrial) -> tuple[float, bool, int, float]:
            over_limits = sum(excess for excess in trial.constraints.values() if excess > 0)
            pruned = trial.state is TrialState.PRUNED
            reached = -(trial.last_step or 0) if pruned else 0
            return over_limits, pruned, reached, sign * (trial.value or 0.0)

        order = sorted(trials, key=badness)
        return [(self._point(trial), float(rank)) for rank, trial in enumerate(order)]

    def _point(self, trial: FrozenTrial) -> Float[np.ndarray, "parameters"]:
        shares = [_share(self._space[path], trial.params[path]) for path in self._space]
        return np.clip(shares, 0.0, 1.0)


def _parts(trials: Sequence[FrozenTrial], size: int) -> Iterator[Sequence[FrozenTrial]]:
    """Whole generations; the last trials wait until theirs is whole."""
    for first in range(0, len(trials) - size + 1, size):
        yield trials[first : first + size]


def _share(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """Where a value lies in its range, from 0 to 1."""
    low, high = _ends(distribution)
    scaled = math.log(value) if distribution.log else value
    return (scaled - low) / (high - low)


def _value(distribution: FloatDistribution | IntDistribution, share: float) -> float:
    low, high = _ends(distribution)
    scaled = low + share * (high - low)
    value = math.exp(scaled) if distribution.log else scaled
    if distribution.step is not None:
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + steps * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def _ends(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    if distribution.log:
        return math.log(distribution.low), math.log(distribution.high)
    return distribution.low, distribution.high
