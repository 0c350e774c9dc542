"""Pruners of Optuna, constructed with every argument written out, since defaults change.

They judge a trial by its best objective so far at each epoch (epochs count from 1). They keep
their state in the study, so a resume restores nothing.
"""

from bisect import insort
from collections import defaultdict
from typing import Any

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from orchestrator.spec.sections import EarlyStopping

# A median of fewer complete trials is mostly chance; Optuna's default.
_MEDIAN_STARTUP_TRIALS = 5


def pruner_arguments(stopping: EarlyStopping) -> dict[str, Any]:
    """Arguments of the pruner, as recorded with the sweep."""
    if stopping.method == "asha":
        return {
            "min_resource": stopping.first_rung,
            "reduction_factor": stopping.reduction,
            "min_early_stopping_rate": 0,
            "bootstrap_count": 0,
        }
    if stopping.method == "hyperband":
        return {
            "min_resource": stopping.first_rung,
            "max_resource": stopping.max_epochs,
            "reduction_factor": stopping.reduction,
            "bootstrap_count": 0,
        }
    if stopping.method == "median":
        return {
            "n_startup_trials": _MEDIAN_STARTUP_TRIALS,
            "n_warmup_steps": stopping.first_rung,
            "interval_steps": 1,
            "n_min_trials": 1,
        }
    return {}


def build_pruner(stopping: EarlyStopping) -> BasePruner:
    """Pruner of a spec's early stopping."""
    kinds: dict[str, type[BasePruner]] = {
        "asha": Halving,
        "hyperband": Brackets,
        "median": MedianPruner,
        "none": NopPruner,
    }
    return kinds[stopping.method](**pruner_arguments(stopping))


class Halving(SuccessiveHalvingPruner):
    """Optuna's successive halving, with the values of each rung kept in order.

    Optuna reads every trial of the study at each rung. This reads them once, and then knows what
    it has judged itself: one driver judges all trials of a study.
    """

    _rungs: defaultdict[str, list[float]] | None = None

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial ends at its last epoch; notes the rungs that it has reached."""
        step = trial.last_step
        if step is None:
            return False
        value = trial.intermediate_values[step]
        rung = 0
        while _key(rung) in trial.system_attrs:
            rung += 1
        while step >= self._epoch_of(rung):
            if self._rungs is None:
                self._rungs = _rungs(study)
            study._storage.set_trial_system_attr(trial._trial_id, _key(rung), value)
            values = self._rungs[_key(rung)]
            insort(values, value)
            # The best of the first trials goes on, as there are fewer than one in `reduction`.
            last = max(1, len(values) // self._reduction_factor)
            maximize = study.direction is StudyDirection.MAXIMIZE
            if value < values[-last] if maximize else value > values[last - 1]:
                return True
            rung += 1
        return False

    def _epoch_of(self, rung: int) -> int:
        assert self._min_resource is not None, "the spec says where the first rung is"
        return self._min_resource * int(
            self._reduction_factor ** (self._min_early_stopping_rate + rung)
        )


def _key(rung: int | str) -> str:
    """Name of Optuna's note that a trial has reached a rung."""
    return f"completed_rung_{rung}"


def _rungs(study: optuna.Study) -> defaultdict[str, list[float]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for trial in study.get_trials(deepcopy=False):
        for key, value in trial.system_attrs.items():
            if key.startswith(_key("")):
                found[key].append(value)
    for values in found.values():
        values.sort()
    return found


class Brackets(HyperbandPruner):
    """Optuna's Hyperband over brackets of `Halving`."""

    def _try_initialization(self, study: optuna.Study) -> None:
        super()._try_initialization(study)
        self._pruners = [
            Halving(self._min_resource, self._reduction_factor, bracket)
            for bracket in range(len(self._pruners))
        ]
