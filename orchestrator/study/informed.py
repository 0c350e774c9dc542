"""A sampler that also knows trials of earlier sweeps, and begins with given points."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class InformedSampler(BaseSampler):
    """Another sampler with given first points and more known trials.

    Args:
        sampler: Draws what is not given.
        points: Values of the first trials, by number.
        earlier: Trials that it knows beside those of the study.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        points: Sequence[Mapping[str, Any]] = (),
        earlier: Sequence[FrozenTrial] = (),
    ) -> None:
        self._sampler = sampler
        self._points = points
        self._earlier = earlier

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What the sampler draws together; nothing for a given point."""
        if trial.number < len(self._points):
            return {}
        return self._sampler.infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values that the sampler draws together; none for a given point."""
        if trial.number < len(self._points):
            return {}
        return self._sampler.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401
        """The value of a given point, or one that the sampler draws by itself."""
        if trial.number < len(self._points) and param_name in self._points[trial.number]:
            return self._points[trial.number][param_name]
        seen = self._seen(study)
        return self._sampler.sample_independent(seen, trial, param_name, param_distribution)

    def _seen(self, study: optuna.Study) -> optuna.Study:
        if not self._earlier:
            return study
        return cast("optuna.Study", _StudyWithMore(study, self._earlier))


class _StudyWithMore:
    """A study as a sampler reads it, with more trials before its own."""

    def __init__(self, study: optuna.Study, more: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._more = more

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._study, name)

    def get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [*self._wanted(states), *self._study.get_trials(deepcopy, cast("Any", states))]

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Sequence[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        own = self._study._get_trials(deepcopy, cast("Any", states), use_cache)
        return [*self._wanted(states), *own]

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()

    def _wanted(self, states: Sequence[TrialState] | None) -> list[FrozenTrial]:
        return [trial for trial in self._more if states is None or trial.state in states]
