"""Optuna's PED-ANOVA over chosen trials instead of a whole study."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from jaxtyping import Float
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

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

    Parameters that have no value in some of the trials are left out.

    Args:
        spec: The sweep.
        parameters: Parameters of each trial, by dotted path.
        values: Value of each trial; larger is better.
    """
    space = distributions(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                optuna.create_trial(
                    params=dict(point),
                    distributions={path: space[path] for path in point},
                    value=float(value),
                )
                for point, value in zip(parameters, values, strict=True)
            ]
        )
        evaluator = PedAnovaImportanceEvaluator(target_quantile=_TARGET_QUANTILE)
        return dict(get_param_importances(study, evaluator=evaluator, normalize=False))
