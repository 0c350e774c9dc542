"""Optuna's PED-ANOVA over chosen trials instead of a whole study."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import optuna
from jaxtyping import Float
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.samplers import distributions

# The best quarter is compared with all trials; the published tenth would be two trials of 20.
_TARGET_QUANTILE = 0.25


def ped_anova(
    spec: SweepSpec,
    parameters: Sequence[Mapping[str, Any]],
    values: Float[np.ndarray, "trials"],
) -> dict[str, float]:
    """How well each parameter separates the best quarter from all trials; 0 if it does not.

    A conditional parameter is judged by the trials in which it has a value.

    Args:
        spec: The sweep.
        parameters: Parameters of each trial, by dotted path.
        values: Value of each trial; larger is better.
    """
    (found,) = ped_anova_of_each(spec, parameters, [values])
    return found


def ped_anova_of_each(
    spec: SweepSpec,
    parameters: Sequence[Mapping[str, Any]],
    each: Iterable[Float[np.ndarray, "trials"]],
) -> list[dict[str, float]]:
    """The same for other values of the same trials, see `ped_anova`."""
    space = distributions(spec)
    trials = [
        optuna.create_trial(
            params=dict(point), distributions={path: space[path] for path in point}, value=0.0
        )
        for point in parameters
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        evaluator = PedAnovaImportanceEvaluator(target_quantile=_TARGET_QUANTILE)
    return [
        dict(get_param_importances(_study_of(trials, values), evaluator=evaluator, normalize=False))
        for values in each
    ]


def _study_of(trials: Sequence[FrozenTrial], values: Float[np.ndarray, "trials"]) -> optuna.Study:
    """A study of the trials with these values; `add_trial` would copy each of them deeply."""
    storage = InMemoryStorage()
    study = optuna.create_study(direction="maximize", storage=storage)
    made = []
    for number, (trial, value) in enumerate(zip(trials, values, strict=True)):
        with_value = copy(trial)
        with_value.number = with_value._trial_id = number
        with_value.value = float(value)
        made.append(with_value)
    storage._studies[study._study_id].trials = made
    return study
