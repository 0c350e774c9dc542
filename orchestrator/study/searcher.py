"""Which trial comes next: samplers of Optuna, and the sampled values as a request to train.

What is drawn for a trial depends on the sweep's seed and the trial's number alone, for `tpe` also
on the trials known when it is drawn. Nothing hides in a generator's state, so a sweep that goes on
in another process draws what it would have drawn.
"""

import hashlib
import os
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from orchestrator.base.provenance import trial_key
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.search_space import grid_points, resolve
from orchestrator.spec.sections import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.planned_trials import PLANNED, PlannedTrial, TrialPlan
from orchestrator.study.study import AskedTrial, SweepStudy
from orchestrator.study.trial import FailureCause, TrialRequest, TrialSummary
from prvr_model.errors import PrvrError
from prvr_model.files.folder import uri_below
from prvr_model.store.staging import CACHE_VARIABLE

# Random trials before TPE has anything to learn from: a third of the sweep, but no fewer than 4
# (two points make no density) and no more than Optuna's own 10.
_STARTUP_SHARE = 3
_STARTUP_RANGE = (4, 10)


def sampler_arguments(search: Search) -> dict[str, Any]:
    """Arguments of the sampler, as recorded with the sweep."""
    if search.sampler == "tpe":
        low, high = _STARTUP_RANGE
        startup = max(low, min(high, (search.trials or 0) // _STARTUP_SHARE))
        return {
            "n_startup_trials": startup,
            "n_ei_candidates": 24,
            "multivariate": True,
            "group": False,
            # Trials that run at the same time repel each other, else they would draw alike.
            "constant_liar": True,
        }
    if search.sampler == "qmc":
        # Unscrambled sequences begin in a corner and know no seed.
        return {"qmc_type": "sobol", "scramble": True}
    return {}


def sampler_record(spec: SweepSpec) -> dict[str, Any]:
    """What chooses the trials, as recorded with the sweep."""
    if spec.ablation is not None:
        return {"kind": "ablation", "design": spec.ablation.design}
    assert spec.search is not None, "a spec has a search or an ablation"
    arguments = sampler_arguments(spec.search)
    return {"kind": spec.search.sampler, "seed": spec.search.seed, **arguments}


def build_sampler(spec: SweepSpec) -> BaseSampler:
    """Sampler of a spec's search."""
    search = spec.search
    if search is None:
        # Never asked: the runs of an ablation are planned, not drawn.
        return RandomSampler(seed=0)
    arguments = sampler_arguments(search)
    if search.sampler == "grid":
        return _Grid(grid_points(spec))
    if search.sampler == "qmc":
        return _NumberedQMC(distributions(spec), seed=search.seed, **arguments)
    if search.sampler == "tpe":
        return _Numbered(
            lambda seed: TPESampler(seed=seed, **arguments),
            search.seed,
        )
    return _Numbered(lambda seed: RandomSampler(seed=seed), search.seed)


def distributions(spec: SweepSpec) -> dict[str, BaseDistribution]:
    """Optuna's form of the parameters, by dotted path."""
    return {path: _distribution(one) for path, one in spec.space.items()}


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.type == "categorical":
        return CategoricalDistribution(parameter.choices)
    high = parameter.ends[-1]
    if parameter.type == "int":
        return IntDistribution(parameter.low, int(high), parameter.log, parameter.step)
    return FloatDistribution(parameter.low, high, parameter.log, parameter.step)


@dataclass(frozen=True)
class RefusedTrial:
    """A drawn combination that no settings can be built from."""

    number: int
    parameters: dict[str, Any]
    cause: FailureCause


class Searcher:
    """Hands out a sweep's trials: unfinished ones first, then new ones up to the number asked for.

    Args:
        study: Study of the sweep.
        spec: The sweep.
        store: Absolute path or URI of the feature store.
        data_fingerprint: Fingerprint of the store's content.
        storage: URI or absolute path; trial folders are `<storage>/<sweep>/trials/<number>`.
    """

    def __init__(
        self, study: SweepStudy, spec: SweepSpec, store: str, data_fingerprint: str, storage: str
    ) -> None:
        self._study = study
        self._spec = spec
        self._store = store
        self._data_fingerprint = data_fingerprint
        self._storage = storage
        self._distributions = distributions(spec)
        self._unfinished = list(study.unfinished())
        self._plan = TrialPlan.of(study.attributes)

    def plan(self, trials: Sequence[PlannedTrial]) -> None:
        """Add a round of planned trials, all of them in one write; they come next."""
        if not trials:
            return
        plan = self._plan.with_round(self._study.num_asked(), trials)
        self._study.set_attribute(PLANNED, plan.to_json())
        self._plan = plan

    @property
    def planned(self) -> TrialPlan:
        """The planned trials so far."""
        return self._plan

    @property
    def num_wanted(self) -> int:
        """Number of trials in all, as far as it is known now."""
        searched = self._spec.num_trials if self._spec.search else 0
        return searched + len(self._plan.trials)

    @property
    def has_unfinished(self) -> bool:
        """Whether trials that an earlier driver began are still to go on."""
        return bool(self._unfinished)

    def next(self) -> TrialRequest | RefusedTrial | None:
        """The next trial; a refused one is told to the study as failed; None: no more."""
        if self._unfinished:
            number = self._unfinished.pop(0)
            before = self._study.summary(number)
            return self._request(self._study.take_up(number, self._space(number)), before)
        number = self._study.num_asked()
        if number not in self._plan.trials and not self._draws_more(number):
            return None
        return self._request(self._study.ask(self._space(number)))

    def _space(self, number: int) -> dict[str, BaseDistribution]:
        """What is drawn for a trial: nothing, where it is planned."""
        return {} if number in self._plan.trials else self._distributions

    def _draws_more(self, asked: int) -> bool:
        """Whether the search has trials left, beside those that were planned."""
        planned = sum(number < asked for number in self._plan.trials)
        return self._spec.search is not None and asked - planned < self._spec.num_trials

    def _request(
        self, asked: AskedTrial, before: TrialSummary | None = None
    ) -> TrialRequest | RefusedTrial:
        planned = self._plan.trials.get(asked.number)
        parameters = dict(planned.parameters) if planned else self._snapped(asked.drawn)
        try:
            settings = resolve(self._spec, parameters)
        except PrvrError as error:
            return self._refuse(asked.number, parameters, error)
        workers = self._spec.resources.workers
        key = trial_key(settings, self._data_fingerprint, self._spec.speed, workers)
        folder = uri_below(self._storage, f"{self._spec.name}/trials/{asked.number:05d}")
        self._study.describe(
            asked.number,
            parameters=parameters,
            key=key,
            seed=settings.training.seed,
            folder=folder,
            variant=planned.variant if planned else None,
            confirms=planned.confirms if planned else None,
            # Whose results it had begun to take over; the driver looks whether it has them all.
            taken_from=before.taken_from if before and before.key == key else None,
        )
        return TrialRequest(
            sweep=self._spec.name,
            number=asked.number,
            key=key,
            parameters=parameters,
            settings=settings,
            speed=self._spec.speed,
            store=self._store,
            data_fingerprint=self._data_fingerprint,
            folder=folder,
            cache=os.environ.get(CACHE_VARIABLE),
        )

    def _snapped(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        return {path: self._spec.space[path].snap(value) for path, value in drawn.items()}

    def _refuse(self, number: int, parameters: dict[str, Any], error: PrvrError) -> RefusedTrial:
        trace = "".join(traceback.format_exception(error))
        cause = FailureCause(type(error).__name__, str(error), trace)
        self._study.describe(number, parameters=parameters)
        self._study.tell_failed(number, cause)
        return RefusedTrial(number, parameters, cause)


def derived_seed(seed: int, number: int, place: str) -> int:
    """Seed of one draw: of a trial, or of one of its parameters where they are drawn apart."""
    digest = hashlib.sha256(f"{seed}/{number}/{place}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


class _Numbered(BaseSampler):
    """A fresh sampler for every draw, seeded by the trial's number and the parameter's name."""

    def __init__(self, build: Callable[[int], BaseSampler], seed: int) -> None:
        self._build = build
        self._seed = seed

    def _for(self, trial: FrozenTrial, place: str) -> BaseSampler:
        return self._build(derived_seed(self._seed, trial.number, place))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._for(trial, "").infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._for(trial, "").sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401
        sampler = self._for(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


class _NumberedQMC(QMCSampler):
    """Point number n of the sequence for trial number n, from the first trial on.

    Optuna counts points in the study, where a trial lost between two writes leaves a gap, and
    draws the first trial at random.
    """

    def __init__(
        self, space: Mapping[str, BaseDistribution], seed: int, qmc_type: str, scramble: bool
    ) -> None:
        with warnings.catch_warnings():
            # Its interface may change, which the pinned version and the tests would show.
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(qmc_type=qmc_type, scramble=scramble, seed=seed)
        self._space = {path: one for path, one in sorted(space.items()) if not one.single()}
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


class _Grid(BaseSampler):
    """Point number n of the grid for trial number n."""

    def __init__(self, points: Sequence[Mapping[str, Any]]) -> None:
        self._points = points

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401
        return self._points[trial.number][param_name]
