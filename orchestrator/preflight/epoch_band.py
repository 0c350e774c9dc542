"""How many epochs a sweep trains at least, as expected and at most."""

from dataclasses import dataclass

from orchestrator.preflight.epoch_time import EpochTime
from orchestrator.preflight.expected_epochs import expected_epochs
from orchestrator.spec.sweep_spec import SweepSpec, most_trials

_PATIENCE = "training.patience_epochs"


@dataclass(frozen=True)
class Band:
    """Least, expected and most of something."""

    least: float
    expected: float
    most: float

    def times(self, time: EpochTime) -> "Band":
        """Seconds of so many epochs."""
        low, high = time.band_s
        return Band(self.least * low, self.expected * time.mean_s, self.most * high)


def epoch_band(spec: SweepSpec, known: int) -> Band:
    """Epochs of all trials but the known ones.

    A confirmation comes for certain, a race's further seeds perhaps.
    """
    trials = spec.num_trials - known
    searched = trials * spec.max_epochs
    least = _epochs_least(spec, trials)
    expected = min(max(expected_epochs(spec.early_stopping, trials), least), searched)
    more = most_trials(spec) - spec.num_trials
    if spec.confirm is not None:
        # No pruner ends the runs of a confirmation.
        least += more * _unpruned_epochs(spec)
        expected += more * spec.max_epochs
    elif more:
        # In between: all rows are decided at the first look, or none before the last.
        expected += more * spec.max_epochs / 2
    return Band(least, expected, searched + more * spec.max_epochs)


def _epochs_least(spec: SweepSpec, trials: int) -> int:
    if not trials:
        return 0
    # No pruner ends the best trial.
    return (trials - 1) * shortest_trial_epochs(spec) + _unpruned_epochs(spec)


def shortest_trial_epochs(spec: SweepSpec) -> int:
    """Fewest epochs after which a trial can end: at a rung, out of patience or by the budget."""
    stopping = spec.early_stopping
    if stopping.method == "none":
        return _unpruned_epochs(spec)
    return min(_unpruned_epochs(spec), stopping.first_rung)


def _unpruned_epochs(spec: SweepSpec) -> int:
    # The first epoch can be the best; patience counts from there.
    patience: list[int] = [
        epochs + 1 for epochs in spec.setting_values(_PATIENCE) if epochs is not None
    ]
    return min([spec.max_epochs, *patience])
