"""Early stopping: pruners as the spec asks for them."""

from random import Random

import optuna
import pytest
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.trial import TrialState

from orchestrator.spec.sections import EarlyStopping
from orchestrator.study.pruners import Brackets, Halving, build_pruner, pruner_arguments


def stopping(method: str) -> EarlyStopping:
    return EarlyStopping.model_validate(
        {"method": method, "first_rung": 3, "reduction": 2, "max_epochs": 12}
    )


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("asha", Halving),
        ("hyperband", Brackets),
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


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("method", ["asha", "hyperband"])
def test_rungs_kept_in_order_decide_as_optuna_does(method: str, direction: str) -> None:
    """Also in the hands of a new driver, which finds the first half of the rungs in the study."""
    arguments = pruner_arguments(stopping(method))
    kind = SuccessiveHalvingPruner if method == "asha" else HyperbandPruner
    decisions = {
        name: decided(pruners, direction)
        for name, pruners in {
            "Optuna": [kind(**arguments)],
            "ours": [build_pruner(stopping(method))],
            "two drivers": [build_pruner(stopping(method)) for _ in range(2)],
        }.items()
    }
    assert decisions["ours"] == decisions["Optuna"] == decisions["two drivers"]
    assert 10 < sum(map(len, decisions["ours"].values())) < 60 * 11


def decided(pruners: list[BasePruner], direction: str) -> dict[int, list[bool]]:
    """Decisions about 60 trials, whose values at rungs are often equal, reporting in turn."""
    study = optuna.create_study(direction=direction, study_name="same", pruner=pruners[0])
    live = {trial.number: trial for trial in (study.ask() for _ in range(60))}
    random = Random(0)
    found: dict[int, list[bool]] = {number: [] for number in live}
    while live:
        if sum(map(len, found.values())) > 200:
            study.pruner = pruners[-1]
        number = random.choice(sorted(live))
        trial, epoch = live[number], len(found[number]) + 1
        trial.report(random.randrange(20) / 4, epoch)
        found[number].append(trial.should_prune())
        if found[number][-1] or epoch == 12:
            study.tell(live.pop(number), state=TrialState.PRUNED)
    return found
