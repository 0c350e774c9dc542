"""The operations that a step is said to take are those of the products that it executes."""

import argparse

import pytest
from torch.utils.flop_counter import FlopCounterMode

from prvr_model.settings import build_settings
from tests.benchmarks.step_operations import step_operations
from tests.benchmarks.train_step import build_step, random_batch, sizes_of


# The last has captions in several parts.
@pytest.mark.parametrize(
    ("hidden", "videos", "captions", "dim"), [(64, 4, 20, 96), (96, 8, 40, 768), (96, 8, 400, 32)]
)
def test_operations_are_counted_as_they_run(
    hidden: int, videos: int, captions: int, dim: int
) -> None:
    options = argparse.Namespace(
        videos=videos,
        captions=captions,
        min_tokens=8,
        max_tokens=24,
        dim=dim,
        hard=False,
        micro_batch_videos=None,
    )
    settings = build_settings(None, {"model.hidden_size": hidden})
    batch = random_batch(settings, options)
    step = build_step(settings, batch, options)
    with FlopCounterMode(display=False) as counted:
        step()
    said = step_operations(settings.model, sizes_of(batch, options))
    # Losses have products of their own.
    assert 0.95 * counted.get_total_flops() < said < 1.01 * counted.get_total_flops()
