"""Compiles the loops of a step for this machine: `python -m prvr_model.training.warm_up`.

Otherwise the first processes that train do so, each of them, and train some seconds later.
"""

import torch

from prvr_model.losses.angles import Distances, angle_slopes
from prvr_model.network.encoding import Encoders
from prvr_model.network.model import MscModel
from prvr_model.settings import ModelSettings


def compile_loops() -> None:
    """Make what trials do on a CPU with a small model."""
    sizes = ModelSettings(hidden_size=8, num_heads=2, num_frames=4, num_clips=2, merge_ratio=0.5)
    encoders = Encoders(MscModel(sizes, 4, 4).train())
    captions = encoders.captions(torch.ones(1, 3, 4), torch.ones(1, 3, dtype=torch.bool))
    videos = encoders.videos(torch.ones(1, 4, 4), torch.ones(1, 2, 4), torch.ones(1, 2))
    distances = Distances(torch.ones(2, 2), torch.ones(2, 2))
    angle_slopes(distances, distances, range(2))
    (captions.sum() + videos.clips.sum() + videos.frames.sum()).backward()


if __name__ == "__main__":
    compile_loops()
