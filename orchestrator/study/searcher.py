"""Draws a sweep's next trial with Optuna's samplers and makes it a request to train.

What is drawn for a trial depends on the sweep's seed and the trial's number alone, for `tpe` also
on the trials known when it is drawn. No generator keeps a state, so a resumed sweep draws the same
trials.
"""

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.conditions import is_active
from orchestrator.spec.search_space import resolve, snapped
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.content_key import key_in
from orchestrator.study.goals import Goals, num_replaced
from orchestrator.study.planned_trials import PLANNED, PlannedTrial, TrialPlan
from orchestrator.study.reader import StudyReader
from orchestrator.study.samplers import distributions
from orchestrator.study.study import AskedTrial, Drawing, SweepStudy, TrialDescription
from orchestrator.study.trial import FailureCause, TrialRequest, TrialState, TrialSummary
from prvr_model.errors import PrvrError
from prvr_model.files.location import uri_below
from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import Settings
from prvr_model.store.staging import CACHE_VARIABLE


@dataclass(frozen=True)
class RefusedTrial:
    """A trial that is over before it is trained.

    Args:
        number: Its number.
        parameters: Its parameters.
        cause: Why no settings can be built from them; None: it exceeds a limit of cost.
    """

    number: int
    parameters: dict[str, Any]
    cause: FailureCause | None


class Searcher:
    """Hands out a sweep's trials: unfinished ones first, then new ones up to the number asked for.

    Args:
        study: Study of the sweep.
        spec: The sweep.
        store: Absolute path or URI of the feature store.
        data_fingerprint: Fingerprint of the store's content.
        storage: URI or absolute path; trial folders are `<storage>/<sweep>/trials/<number>`.
        costs: What a trial of some settings costs, as far as it is known before it is trained.
    """

    # Six: a sweep, its data and places.
    def __init__(
        self,
        study: SweepStudy,
        spec: SweepSpec,
        store: str,
        data_fingerprint: str,
        storage: str,
        costs: Callable[[Settings], Mapping[str, float]] = lambda settings: {},
    ) -> None:
        self._study = study
        self._spec = spec
        self._store = store
        self._data_fingerprint = data_fingerprint
        self._storage = storage
        self._goals = Goals.of_spec(spec)
        self._costs = costs
        self._drawing = Drawing(
            distributions(spec),
            lambda path, drawn: is_active(spec.space, path, snapped(spec, drawn)),
        )
        self._start = spec.start_points
        self._unfinished = list(study.unfinished())
        self._plan = TrialPlan.of(study.attributes)

    def plan(self, trials: Sequence[PlannedTrial]) -> None:
        """Add a round of planned trials in one write; they come next."""
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
        """Number of trials in all, without rounds that are not planned yet."""
        return num_searched(self._spec, self._study, self._plan) + len(self._plan.trials)

    @property
    def has_unfinished(self) -> bool:
        """Whether trials that an earlier driver began are still to be continued."""
        return bool(self._unfinished)

    def next(self) -> TrialRequest | RefusedTrial | None:
        """The next trial, None after the last; a refused one is over in the study."""
        if self._unfinished:
            number = self._unfinished.pop(0)
            before = self._study.summary(number)
            return self._request(self._study.take_up(number, self._space(number)), before)
        number = self._study.num_asked()
        if number not in self._plan.trials and not self._draws_more(number):
            return None
        return self._request(self._study.ask(self._space(number)))

    def _space(self, number: int) -> Drawing:
        """Parameters that are drawn for a trial; none for a planned trial."""
        if number in self._plan.trials:
            return Drawing({})
        if number < len(self._start) and not self._start[number][1]:
            # The published setting: what is not in its point keeps its own value.
            given = self._start[number][0]
            all_of_them = self._drawing.distributions
            return Drawing({path: all_of_them[path] for path in all_of_them if path in given})
        return self._drawing

    def _draws_more(self, asked: int) -> bool:
        """Whether the search has trials left; planned trials do not count."""
        planned = sum(number < asked for number in self._plan.trials)
        return asked - planned < num_searched(self._spec, self._study, self._plan)

    def _request(
        self, asked: AskedTrial, before: TrialSummary | None = None
    ) -> TrialRequest | RefusedTrial:
        planned = self._plan.trials.get(asked.number)
        parameters = dict(planned.parameters) if planned else snapped(self._spec, asked.drawn)
        try:
            settings = resolve(self._spec, parameters)
        except PrvrError as error:
            return self._refuse(asked.number, parameters, error)
        # A trial that was begun with other numbers is finished as one of those.
        version = before.results_version if before and before.key else RESULTS_VERSION
        key = key_in(self._spec, settings, self._data_fingerprint, version)
        folder = uri_below(self._storage, f"{self._spec.name}/trials/{asked.number:05d}")
        costs = self._costs(settings) if self._goals else {}
        over_limit = self._goals.over_limit(costs)
        description = TrialDescription(
            parameters,
            key,
            folder,
            settings.training.seed,
            planned.variant if planned else None,
            planned.confirms if planned else None,
            # Results that it had begun to copy; the driver checks whether it has them all.
            before.taken_from if before and before.key == key else None,
            before.taken_epochs if before and before.key == key else None,
            version,
            costs,
            over_limit,
        )
        self._study.describe(asked.number, description)
        if over_limit is not None:
            self._study.tell_pruned(asked.number)
            return RefusedTrial(asked.number, parameters, None)
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

    def _refuse(self, number: int, parameters: dict[str, Any], error: PrvrError) -> RefusedTrial:
        trace = "".join(traceback.format_exception(error))
        cause = FailureCause(type(error).__name__, str(error), trace)
        self._study.describe(number, TrialDescription(parameters))
        self._study.tell_failed(number, cause)
        return RefusedTrial(number, parameters, cause)


def replacements(spec: SweepSpec, study: StudyReader) -> int:
    """How many trials a search draws for those that exceed a limit; a grid has no others."""
    if not spec.limits or (spec.search is not None and spec.search.sampler == "grid"):
        return 0
    return num_replaced(study.summaries(), spec.num_trials)


def num_searched(spec: SweepSpec, study: StudyReader, plan: TrialPlan) -> int:
    """How many trials the search makes: all that are asked for, or until no new point is left.

    A trial with the parameters of an earlier one would only copy its result; one that failed may
    be tried again. One that exceeds a limit is not trained, and another is drawn for it; at most
    as many as are asked for.
    """
    if spec.search is None:
        return 0
    wanted = spec.num_trials + replacements(spec, study)
    points = spec.num_points if spec.reuse else None
    if points is None or points >= wanted or points > study.num_asked():
        return wanted
    drawn = [trial for trial in study.summaries() if trial.number not in plan.trials]
    different = {
        tuple(sorted(trial.parameters.items()))
        for trial in drawn
        if trial.state is not TrialState.FAILED
    }
    return wanted if len(different) < points else min(wanted, len(drawn))
