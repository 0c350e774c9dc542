"""A step in micro-batches: the loss and the gradients of the whole batch, with less saved."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from prvr_model.losses.objective import compute_losses
from prvr_model.network import encoding
from prvr_model.network.encoding import Encoders
from prvr_model.settings import Settings, SpeedSettings
from tests.benchmarks.live_bytes import LiveBytes
from tests.prvr_model.tiny import random_batch, random_draws, tiny_model, tiny_settings

CAPTIONS = [2, 3, 1, 2, 4, 1, 3]


def step(
    settings: Settings, micro_batch_videos: int | None, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Loss terms, the global random state afterwards and every gradient."""
    torch.manual_seed(3)
    model = tiny_model(settings, dtype)
    batch = random_batch(settings, CAPTIONS, dtype=dtype)
    encoders = Encoders(model, SpeedSettings(micro_batch_videos=micro_batch_videos))
    terms = compute_losses(model, batch, settings.losses, random_draws(batch), True, encoders)
    terms.total.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {"terms": terms.stacked().detach(), **gradients}


@pytest.mark.parametrize("micro_batch_videos", [1, 2, 3, 7, 100])
def test_loss_and_gradients_are_those_of_the_batch(micro_batch_videos: int) -> None:
    settings = tiny_settings(model__dropout=0.0, model__input_dropout=0.0)
    whole, parts = step(settings, None), step(settings, micro_batch_videos)
    assert parts.keys() == whole.keys()
    assert len(whole) > 30
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, rtol=1e-9, atol=1e-12, msg=name)


def test_dropout_is_drawn_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny_settings()
    again = step(settings, 2)
    monkeypatch.setattr(encoding, "checkpoint", lambda encode, *piece, **_: encode(*piece))
    kept = step(settings, 2)
    for name, expected in kept.items():
        torch.testing.assert_close(again[name], expected, rtol=0, atol=0, msg=name)
    other = step(settings, 3)
    assert not torch.equal(other["terms"], kept["terms"])


@pytest.mark.soak
def test_less_is_alive_at_a_time() -> None:
    settings = tiny_settings(model__num_frames=64, model__num_clips=32)
    peaks = []
    for micro_batch_videos in (None, 1):
        with LiveBytes() as memory:
            step(settings, micro_batch_videos, torch.float32)
        peaks.append(memory.peak)
    assert peaks[1] < 0.6 * peaks[0]


def test_fewer_captions_than_parts() -> None:
    settings = tiny_settings(model__dropout=0.0, model__input_dropout=0.0)
    model = tiny_model(settings)
    batch = random_batch(settings, [1, 1, 1, 1])
    fewer = replace(batch, tokens=batch.tokens[:2], tokens_valid=batch.tokens_valid[:2])
    encoders = Encoders(model, SpeedSettings(micro_batch_videos=1))
    videos, queries = encoders.batch(fewer)
    assert (len(videos.clips), len(queries)) == (4, 2)
