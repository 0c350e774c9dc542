"""Pruners of Optuna, constructed with every argument written out, since defaults change.

They judge a trial by its best objective so far at each epoch (epochs count from 1). They keep
their state in the study, so a resume restores nothing.
"""

from typing import Any

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

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
        "asha": SuccessiveHalvingPruner,
        "hyperband": HyperbandPruner,
        "median": MedianPruner,
        "none": NopPruner,
    }
    return kinds[stopping.method](**pruner_arguments(stopping))
