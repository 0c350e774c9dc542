"""The steps of a trial's first epoch, for tests that look into them."""

import numpy as np

from prvr_model.inputs.batching import epoch_order
from prvr_model.training import train_loop
from prvr_model.training.step_numbers import StepNumbers


def train_steps(run: train_loop._Run, numbers: StepNumbers) -> None:
    """The steps of the first epoch, batches included, without its end."""
    run.model.train()
    for step, batch in enumerate(run._batches(first_order(run))):
        run._step(batch, 0, step, numbers)


def first_order(run: train_loop._Run) -> list[np.ndarray]:
    """Videos of each batch."""
    training = run.settings.training
    return epoch_order(run.train_split.num_videos, training.batch_videos, training.seed, 0)
