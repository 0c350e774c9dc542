"""Optuna's samplers, built from the spec so that each draw depends on the trial number alone."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from orchestrator.spec.conditions import in_order
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.search_space import grid_points
from orchestrator.spec.sections import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.evolution import ReplayedCma
from orchestrator.study.goals import Goals
from orchestrator.study.informative import LimitedSampler
from orchestrator.study.informed import InformedSampler
from orchestrator.study.seeds import derived_seed

# Random trials before TPE or a Gaussian process begins to learn: a third of the sweep, at least 4
# (two points make no density) and at most Optuna's default of 10.
_STARTUP_SHARE = 3
_STARTUP_RANGE = (4, 10)


def sampler_arguments(search: Search) -> dict[str, Any]:
    """Arguments of the sampler, as recorded with the sweep."""
    low, high = _STARTUP_RANGE
    startup = max(low, min(high, (search.trials or 0) // _STARTUP_SHARE))
    if search.sampler == "gp":
        return {"n_startup_trials": startup, "deterministic_objective": False}
    if search.sampler == "tpe":
        return {
            "n_startup_trials": startup,
            "n_ei_candidates": 24,
            "multivariate": True,
            # Trials in which other parameters have values are learned from apart.
            "group": any(parameter.when for parameter in search.parameters.values()),
            # Trials that run at the same time repel each other; else they would be drawn alike.
            "constant_liar": True,
        }
    if search.sampler == "qmc":
        # Unscrambled sequences begin in a corner of the space and ignore the seed.
        return {"qmc_type": "sobol", "scramble": True}
    return {}


def sampler_record(spec: SweepSpec) -> dict[str, Any]:
    """What chooses the trials, as recorded with the sweep."""
    if spec.ablation is not None:
        return {"kind": "ablation", "design": spec.ablation.design}
    assert spec.search is not None, "a spec has a search or an ablation"
    arguments = sampler_arguments(spec.search)
    return {"kind": spec.search.sampler, "seed": spec.search.seed, **arguments}


def build_sampler(spec: SweepSpec, earlier: Sequence[FrozenTrial] = ()) -> BaseSampler:
    """Sampler of a spec's search.

    Args:
        spec: The sweep.
        earlier: Trials of earlier sweeps that it knows.
    """
    if spec.search is None:
        # Never asked: the runs of an ablation are planned, not drawn.
        return RandomSampler(seed=0)
    sampler = _sampler(spec, spec.search)
    points = [values for values, _ in spec.start_points]
    goals = Goals.of_spec(spec)
    is_plain = not (points or earlier or goals)
    return sampler if is_plain else InformedSampler(sampler, points, earlier, goals)


def _sampler(spec: SweepSpec, search: Search) -> BaseSampler:
    arguments = sampler_arguments(search)
    if search.sampler == "grid":
        return _Grid(grid_points(spec))
    if search.sampler == "qmc":
        return _NumberedQMC(distributions(spec), seed=search.seed, **arguments)
    if search.sampler == "cmaes":
        return ReplayedCma(distributions(spec), search.seed)
    if search.sampler == "tpe":
        tpe = _Numbered(lambda seed: _quietly(TPESampler, seed=seed, **arguments), search.seed)
        return LimitedSampler(tpe, search.seed)
    if search.sampler == "gp":
        arguments["warn_independent_sampling"] = False
        gp = _Numbered(lambda seed: _quietly(_GaussianProcess, seed=seed, **arguments), search.seed)
        return LimitedSampler(gp, search.seed)
    return _Numbered(lambda seed: RandomSampler(seed=seed), search.seed)


def _quietly(build: Callable[..., BaseSampler], **arguments: Any) -> BaseSampler:  # noqa: ANN401
    with warnings.catch_warnings():
        # Optuna warns that the interface may change; the version is pinned and tests use it.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return build(**arguments)


def distributions(spec: SweepSpec) -> dict[str, BaseDistribution]:
    """Optuna's form of the parameters by dotted path, each after those that it depends on."""
    return {path: _distribution(spec.space[path]) for path in in_order(spec.space)}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.type == "categorical":
        return CategoricalDistribution(parameter.choices)
    high = parameter.ends[-1]
    if parameter.type == "int":
        return IntDistribution(parameter.low, int(high), parameter.log, parameter.step)
    return FloatDistribution(parameter.low, high, parameter.log, parameter.step)


class _Numbered(BaseSampler):
    """A fresh sampler for every draw, seeded by the trial's number and the parameter's name."""

    def __init__(self, build: Callable[[int], BaseSampler], seed: int) -> None:
        self._build = build
        self._seed = seed
        self._relative = build(seed)

    def _for(self, trial: FrozenTrial, parameter: str) -> BaseSampler:
        return self._build(derived_seed(self._seed, trial.number, parameter))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        # Groups of parameters are found here and used when values are drawn.
        self._relative = self._for(trial, "")
        return self._relative.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._relative.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401
        sampler = self._for(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


class _GaussianProcess(GPSampler):
    """Takes one thread: its matrices are small, and the trials have the other processors."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # It imports torch, which other samplers do without.
        from prvr_model.inputs.torch_threads import one_thread

        with one_thread():
            return super().sample_relative(study, trial, search_space)


class _NumberedQMC(QMCSampler):
    """Point number n of the sequence for trial number n, from the first trial on.

    Optuna counts points in the study instead, where a trial lost between two writes leaves a gap,
    and draws the first trial at random.
    """

    def __init__(
        self, space: Mapping[str, BaseDistribution], seed: int, qmc_type: str, scramble: bool
    ) -> None:
        with warnings.catch_warnings():
            # Optuna warns that the interface may change; the version is pinned and tests use it.
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(qmc_type=qmc_type, scramble=scramble, seed=seed)
        self._space = {
            path: distribution
            for path, distribution in sorted(space.items())
            if not distribution.single()
        }
        self._point = 0

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self._point = trial.number
        return dict(self._space)

    def _find_sample_id(
        self, study: optuna.Study, search_space: dict[str, BaseDistribution]
    ) -> int:
        return self._point


class _Grid(RandomSampler):
    """Point number n of the grid for trial number n; parameters are drawn one by one."""

    def __init__(self, points: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(seed=0)
        self._points = points

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401
        return self._points[trial.number][param_name]
