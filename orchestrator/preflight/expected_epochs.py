"""How many epochs a sweep can be expected to train under its early stopping.

A model of pruning, not of learning: trials come in random order, one after the other, and the
better of two is better at every epoch. Where curves cross, or a sampler learns, more trials
continue, and patience ends some trials earlier; the plan's bounds hold in any case.
"""

import random
from bisect import insort
from collections.abc import Iterator
from statistics import fmean, median

from orchestrator.spec.sections import EarlyStopping

# Orders over which the mean is taken, and the number of trials beyond which it is scaled up.
_ORDERS = 20
_MOST_TRIALS = 500
# As in `study.pruners`.
_MEDIAN_STARTUP_TRIALS = 5


def expected_epochs(stopping: EarlyStopping, trials: int) -> float:
    """Mean number of epochs of all trials together."""
    if stopping.method == "none" or not trials:
        return float(trials * stopping.max_epochs)
    simulated = min(trials, _MOST_TRIALS)
    generator = random.Random(0)
    sums = [
        sum(epochs_of_trials(stopping, generator.sample(range(simulated), simulated)))
        for _ in range(_ORDERS)
    ]
    return fmean(sums) * trials / simulated


def epochs_of_trials(stopping: EarlyStopping, scores: list[int]) -> list[int]:
    """Epochs of each trial, in the order in which they come; a higher score is better."""
    if stopping.method == "median":
        return list(_median_epochs(stopping, scores))
    if stopping.method == "hyperband":
        return _hyperband_epochs(stopping, scores)
    return list(_halving_epochs(stopping, scores, stopping.first_rung))


def _halving_epochs(stopping: EarlyStopping, scores: list[int], first_rung: int) -> Iterator[int]:
    """Successive halving: at each rung, one of `reduction` goes on among those that came so far."""
    rungs: dict[int, list[int]] = {}
    for score in scores:
        epoch = first_rung
        while epoch < stopping.max_epochs:
            there = rungs.setdefault(epoch, [])
            insort(there, score)
            if score < there[-max(1, len(there) // stopping.reduction)]:
                break
            epoch *= stopping.reduction
        yield min(epoch, stopping.max_epochs)


def _hyperband_epochs(stopping: EarlyStopping, scores: list[int]) -> list[int]:
    """Brackets of halving, each with a later first rung, trials shared out by their budgets."""
    rungs = [stopping.first_rung]
    while rungs[-1] * stopping.reduction <= stopping.max_epochs:
        rungs.append(rungs[-1] * stopping.reduction)
    shares = bracket_shares(len(rungs), stopping.reduction)
    brackets = random.Random(0).choices(range(len(rungs)), shares, k=len(scores))
    epochs: list[int] = []
    for bracket, rung in enumerate(rungs):
        own = [score for score, where in zip(scores, brackets, strict=True) if where == bracket]
        epochs.extend(_halving_epochs(stopping, own, rung))
    return epochs


def bracket_shares(brackets: int, reduction: int) -> list[int]:
    """Relative number of trials of each bracket, as Optuna shares them out."""
    halvings = [brackets - 1 - bracket for bracket in range(brackets)]
    return [-(-brackets * reduction**halving // (halving + 1)) for halving in halvings]


def _median_epochs(stopping: EarlyStopping, scores: list[int]) -> Iterator[int]:
    """A trial worse than the median of the complete ones ends where it is first looked at."""
    complete: list[int] = []
    for score in scores:
        if len(complete) >= _MEDIAN_STARTUP_TRIALS and score < median(complete):
            yield stopping.first_rung
        else:
            complete.append(score)
            yield stopping.max_epochs
