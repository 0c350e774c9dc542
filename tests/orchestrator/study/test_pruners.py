"""Early stopping: pruners as the spec asks for them."""

import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from orchestrator.spec.sections import EarlyStopping
from orchestrator.study.pruners import build_pruner, pruner_arguments


def stopping(method: str) -> EarlyStopping:
    return EarlyStopping.model_validate(
        {"method": method, "first_rung": 3, "reduction": 2, "max_epochs": 12}
    )


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("asha", SuccessiveHalvingPruner),
        ("hyperband", HyperbandPruner),
        ("median", MedianPruner),
        ("none", NopPruner),
    ],
)
def test_method_names_the_pruner(method: str, kind: type) -> None:
    assert type(build_pruner(stopping(method))) is kind


def test_first_rung_and_reduction_reach_the_pruner() -> None:
    asha = pruner_arguments(stopping("asha"))
    assert (asha["min_resource"], asha["reduction_factor"]) == (3, 2)
    assert pruner_arguments(stopping("hyperband"))["max_resource"] == 12
    assert pruner_arguments(stopping("median"))["n_warmup_steps"] == 3
