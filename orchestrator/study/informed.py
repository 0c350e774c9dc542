"""A sampler that begins with given points, and knows earlier sweeps, objectives and limits."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.study.goals import Goals
from orchestrator.study.reader import costs_of, is_over_limit


class InformedSampler(BaseSampler):
    """Another sampler with given first points, more known trials, and several objectives.

    Args:
        sampler: Draws what is not given.
        points: Values of the first trials, by number.
        earlier: Trials that it knows beside those of the study.
        goals: Objectives and limits by which it sees the trials.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        points: Sequence[Mapping[str, Any]] = (),
        earlier: Sequence[FrozenTrial] = (),
        goals: Goals | None = None,
    ) -> None:
        self._sampler = sampler
        self._points = points
        self._earlier = earlier
        self._view = _GoalView(goals) if goals else None

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
        if not self._earlier and self._view is None:
            return study
        return cast("optuna.Study", _SeenStudy(study, self._earlier, self._view))


class _GoalView:
    """Trials with a value of each objective and what is left of each limit, as samplers want them.

    The study itself has the first objective alone: only so does Optuna prune.
    """

    def __init__(self, goals: Goals) -> None:
        self._goals = goals
        self._changed: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}

    @property
    def directions(self) -> list[StudyDirection] | None:
        """Of several objectives; None: the study's own."""
        found = [StudyDirection[name.upper()] for name in self._goals.objectives.values()]
        return found or None

    def trials(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials, finished ones changed."""
        values = [trial.value for trial in trials if trial.state is TrialState.COMPLETE]
        known = [value for value in values if value is not None]
        return [self._seen(trial, known) for trial in trials]

    def _seen(self, trial: FrozenTrial, known: Sequence[float]) -> FrozenTrial:
        if not trial.state.is_finished():
            return trial
        if is_over_limit(trial):
            return self._as_worst(trial, known)
        before = self._changed.get(trial.number)
        if before is None or before[0] is not trial:
            before = self._changed[trial.number] = (trial, self._of(trial, trial.value))
        return before[1]

    def _as_worst(self, trial: FrozenTrial, known: Sequence[float]) -> FrozenTrial:
        """A trial that was not trained, as if it had the worst value: it must count as known."""
        is_minimized = next(iter(self._goals.objectives.values()), "maximize") == "minimize"
        worst = (max if is_minimized else min)(known, default=0.0)
        made = self._of(trial, worst)
        made.state = TrialState.COMPLETE
        made.values = self._values(trial, worst)
        return made

    def _of(self, trial: FrozenTrial, value: float | None) -> FrozenTrial:
        made = copy(trial)
        if trial.state is TrialState.COMPLETE and value is not None:
            made.values = self._values(trial, value)
        excess = self._goals.excess(costs_of(trial))
        # As shares: limits of several costs count alike.
        shares = [excess[name] / self._goals.limits[name] for name in excess]
        made.system_attrs = (
            {**trial.system_attrs, "constraints": shares} if shares else {**trial.system_attrs}
        )
        return made

    def _values(self, trial: FrozenTrial, value: float) -> list[float]:
        costs = costs_of(trial)
        return [value, *(costs[name] for name in list(self._goals.objectives)[1:])]


class _SeenStudy:
    """A study as a sampler reads it: with more trials before its own, and with its goals."""

    def __init__(
        self, study: optuna.Study, more: Sequence[FrozenTrial], view: _GoalView | None
    ) -> None:
        self._study = study
        self._more = more
        self._view = view

    @property
    def directions(self) -> list[StudyDirection]:
        return (self._view and self._view.directions) or self._study.directions

    def _is_multi_objective(self) -> bool:
        return len(self.directions) > 1

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._study, name)

    def get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._seen(self._study.get_trials(deepcopy, cast("Any", None)), states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Sequence[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return self._seen(self._study._get_trials(deepcopy, None, use_cache), states)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()

    def _seen(
        self, own: Sequence[FrozenTrial], states: Sequence[TrialState] | None
    ) -> list[FrozenTrial]:
        trials = [*self._more, *own]
        seen = self._view.trials(trials) if self._view else trials
        return [trial for trial in seen if states is None or trial.state in states]
