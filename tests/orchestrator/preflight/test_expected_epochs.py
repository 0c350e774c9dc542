"""The model of pruning against Optuna's own pruners."""

from statistics import fmean

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import BasePruner, HyperbandPruner

from orchestrator.preflight.expected_epochs import bracket_shares, epochs_of_trials, expected_epochs
from orchestrator.spec.sections import EarlyStopping
from orchestrator.study.pruners import build_pruner


def stopping(method: str, first_rung: int, reduction: int, max_epochs: int) -> EarlyStopping:
    return EarlyStopping.model_validate(
        {
            "method": method,
            "first_rung": first_rung,
            "reduction": reduction,
            "max_epochs": max_epochs,
        }
    )


def pruned_by_optuna(
    pruner: BasePruner, scores: list[int], max_epochs: int, name: str = "study"
) -> list[int]:
    """Epochs of trials whose value is the same at every epoch; hyperband deals by the name."""
    study = optuna.create_study(study_name=name, direction="maximize", pruner=pruner)
    epochs = []
    for score in scores:
        trial = study.ask()
        state = optuna.trial.TrialState.COMPLETE
        for epoch in range(1, max_epochs + 1):
            trial.report(float(score), epoch)
            if epoch < max_epochs and trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        study.tell(trial, float(score) if state.name == "COMPLETE" else None, state=state)
        epochs.append(epoch)
    return epochs


@pytest.mark.parametrize("method", ["asha", "median"])
@given(
    scores=st.integers(1, 24).flatmap(lambda count: st.permutations(range(count))),
    first_rung=st.integers(1, 4),
    reduction=st.integers(2, 4),
    more=st.integers(1, 12),
)
def test_every_trial_ends_where_optuna_ends_it(
    method: str, scores: list[int], first_rung: int, reduction: int, more: int
) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen = stopping(method, first_rung, reduction, first_rung + more)
    theirs = pruned_by_optuna(build_pruner(chosen), scores, first_rung + more)
    assert epochs_of_trials(chosen, list(scores)) == theirs


@pytest.mark.parametrize(
    ("first_rung", "reduction", "max_epochs"), [(1, 3, 9), (2, 2, 9), (3, 4, 5)]
)
def test_hyperband_has_optunas_brackets(first_rung: int, reduction: int, max_epochs: int) -> None:
    pruner = build_pruner(stopping("hyperband", first_rung, reduction, max_epochs))
    assert isinstance(pruner, HyperbandPruner)
    pruned_by_optuna(pruner, [1], max_epochs)
    theirs = pruner._trial_allocation_budgets
    assert bracket_shares(len(theirs), reduction) == theirs


def test_hyperband_is_near_optuna_in_the_mean() -> None:
    chosen = stopping("hyperband", 1, 3, 27)
    scores = [(7 * number) % 97 for number in range(97)]
    theirs = pruned_by_optuna(build_pruner(chosen), scores, 27)
    assert fmean(epochs_of_trials(chosen, scores)) == pytest.approx(fmean(theirs), rel=0.25)


def test_expectations_of_known_cases() -> None:
    assert expected_epochs(stopping("none", 1, 3, 9), 12) == 108
    # One trial has nobody to lose against.
    assert expected_epochs(stopping("asha", 3, 3, 9), 1) == 9
    # A trial j of two or more goes on with chance max(1, j // 2) / j: 1 + 1/2 + 1/3 + 2/4.
    expected = 4 * 3 + (1 + 1 / 2 + 1 / 3 + 2 / 4) * 2
    assert expected_epochs(stopping("asha", 3, 2, 5), 4) == pytest.approx(expected, rel=0.06)


def test_many_trials_are_scaled() -> None:
    chosen = stopping("asha", 1, 3, 9)
    assert expected_epochs(chosen, 5000) == pytest.approx(10 * expected_epochs(chosen, 500))
