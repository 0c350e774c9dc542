"""Dropout: shares, scale, gradient, repeatability."""

import pytest
import torch

from prvr_model.network.dropout import dropout, keep_mask, kept_share


@pytest.mark.parametrize("rate", [0.1, 0.31, 0.5, 0.9])
def test_share_of_kept_elements_is_the_rate(rate: float) -> None:
    torch.manual_seed(1)
    mask = keep_mask((1000, 1001), rate)
    spread = (rate * (1 - rate) / mask.numel()) ** 0.5
    assert abs(float(mask.double().mean()) - (1 - rate)) < 5 * spread
    # Four elements share a draw: each of the four must have the share by itself.
    by_place = mask.flatten()[: mask.numel() // 4 * 4].view(-1, 4).double().mean(dim=0)
    assert (by_place - (1 - rate)).abs().max() < 10 * spread


def test_neighbours_are_independent() -> None:
    torch.manual_seed(2)
    mask = keep_mask((400_000,), 0.5).double() - 0.5
    for lag in (1, 2, 3, 4):
        assert abs(float((mask[lag:] * mask[:-lag]).mean())) < 0.25 * 5 / 400_000**0.5


def test_mean_is_kept_and_kept_elements_are_scaled() -> None:
    rows = torch.ones(3, 5)
    found = dropout(rows, 0.31, training=True)
    scale = 1 / kept_share(0.31)
    assert set(found.flatten().tolist()) <= {0.0, torch.tensor(scale).item()}
    assert abs(kept_share(0.31) - 0.69) < 2**-16


def test_same_seed_gives_the_same_mask() -> None:
    masks = []
    for _ in range(2):
        torch.manual_seed(5)
        masks.append(keep_mask((7, 3), 0.4))
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], keep_mask((7, 3), 0.4))


def test_gradient_goes_where_elements_were_kept() -> None:
    rows = torch.randn(50, requires_grad=True)
    found = dropout(rows, 0.5, training=True)
    found.sum().backward()
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad, (found != 0).float() / kept_share(0.5))


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_nothing_is_dropped_without_a_rate_or_in_evaluation(rate: float, training: bool) -> None:
    rows = torch.randn(4)
    assert dropout(rows, rate, training) is rows
