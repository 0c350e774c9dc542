"""Which of the known trials a sampler is given."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.study import informative as informative_module
from orchestrator.study.informative import informative
from tests.orchestrator.helpers import small_spec
from tests.orchestrator.study.test_searcher import drawn

# TPE's number of good trials at its most, and where it is reached.
BELOW, ENOUGH = 25, 250


def trials_of(states: list[TrialState]) -> list[FrozenTrial]:
    """Trials of random values; one of the pruned ones has reported nothing."""
    random = np.random.default_rng(1)
    made = []
    for number, state in enumerate(states):
        reached = {int(random.integers(1, 4)): float(random.normal())}
        trial = create_trial(
            state=state,
            value=float(random.normal()) if state is TrialState.COMPLETE else None,
            intermediate_values={} if number == 1 else reached,
        )
        trial.number = number
        made.append(trial)
    return made


def mixed(share_complete: float, count: int = 900) -> list[TrialState]:
    """States of a sweep's trials; the last ones still run."""
    random = np.random.default_rng(0)
    others = [TrialState.PRUNED] * 8 + [TrialState.FAIL]
    ended = [
        TrialState.COMPLETE if random.random() < share_complete else others[random.integers(9)]
        for _ in range(count)
    ]
    return [*ended, *[TrialState.RUNNING] * 20]


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("share_complete", [0.3, 0.01, 0.0])
def test_tpe_finds_the_same_good_trials_among_those_it_is_given(
    share_complete: float, maximize: bool
) -> None:
    direction = "maximize" if maximize else "minimize"
    study = optuna.create_study(direction=direction)
    trials = trials_of(mixed(share_complete))
    known = [trial for trial in trials if trial.state is not TrialState.FAIL]
    given = informative(known, ENOUGH, 7, maximize=maximize)
    good = [trial.number for trial in _split_trials(study, known, BELOW)[0]]
    assert [trial.number for trial in _split_trials(study, given, BELOW)[0]] == good


def test_a_limit_leaves_out_finished_trials_alone_and_keeps_the_order() -> None:
    trials = trials_of(mixed(0.3))
    given = informative(trials, 300, 7, maximize=True)
    numbers = [trial.number for trial in given]
    assert numbers == sorted(numbers)
    finished = [trial for trial in given if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(finished) == 300
    others = [trial for trial in trials if trial.state.name in ("RUNNING", "FAIL")]
    assert [trial for trial in given if trial not in finished] == others


def test_up_to_the_limit_all_trials_are_given() -> None:
    trials = trials_of(mixed(0.3, 200))
    assert informative(trials, 200, 7, maximize=True) == trials


def test_another_trial_is_given_other_trials_and_every_one_is_given_to_some() -> None:
    trials = trials_of([TrialState.COMPLETE] * 100)
    given = [informative(trials, 40, seed, maximize=True) for seed in range(40)]
    numbers = [{trial.number for trial in some} for some in given]
    assert numbers[0] != numbers[1]
    # The best are given to all of them.
    assert len(set.intersection(*numbers)) == 20
    assert set.union(*numbers) == set(range(100))


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 12), ("gp", 7)])
def test_another_driver_goes_on_with_the_same_draws_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, trials: int
) -> None:
    spec = small_spec(f"search.sampler={sampler}", f"search.trials={trials}")
    free = [trial.parameters for trial in drawn(tmp_path / "free", spec)]
    monkeypatch.setattr(informative_module, "MOST_TRIALS", 4)
    whole = [trial.parameters for trial in drawn(tmp_path / "whole", spec)]
    parts = [trial.parameters for trial in drawn(tmp_path / "parts", spec, reopen_at=trials - 1)]
    assert parts == whole
    # The first five are drawn with four known trials at most.
    assert whole[:5] == free[:5]
    assert whole != free
