"""Fused steps: what dropout draws, rounding, threads, and gradients in all types of products."""

from itertools import pairwise

import numba.core.caching
import pytest
import torch
from torch import Tensor

from prvr_model.inputs import processor
from prvr_model.network import encoders, fused_blocks, row_kernels, scale_mixing
from prvr_model.network.encoders import InputProjection, VideoBranch
from prvr_model.network.row_steps import Draw, Layer, add_norm, attend, draw, join_heads, norm_drop
from prvr_model.settings import PUBLISHED_WIDTHS

PLAIN = Layer(torch.ones(512), torch.zeros(512))


def mask_of(dropping: Draw) -> Tensor:
    """Where dropout keeps elements of 2,000 rows of 512."""
    _, mask = norm_drop(torch.rand(2000, 512), PLAIN, dropping, torch.float32, with_mask=True)
    return mask != 0


@pytest.mark.parametrize("rate", [0.1, 0.31, 0.5, 0.9])
def test_share_of_kept_elements_is_the_rate(rate: float) -> None:
    torch.manual_seed(1)
    mask = mask_of(draw(rate)).double()
    spread = (rate * (1 - rate) / mask.numel()) ** 0.5
    assert abs(float(mask.mean()) - (1 - rate)) < 5 * spread
    for means, number in ((mask.mean(dim=0), 2000), (mask.mean(dim=1), 512)):
        assert (means - (1 - rate)).abs().max() < 5.5 * (rate * (1 - rate) / number) ** 0.5


def test_elements_and_draws_are_independent() -> None:
    torch.manual_seed(2)
    masks = [mask_of(draw(0.5)).flatten().double() - 0.5 for _ in range(4)]
    limit = 0.25 * 5 / masks[0].numel() ** 0.5
    for mask in masks:
        for lag in (1, 2, 3, 4, 16, 512):
            assert abs(float((mask[lag:] * mask[:-lag]).mean())) < limit
    for one, other in pairwise(masks):
        # Not even shifted against each other.
        spectrum = torch.fft.rfft(one).conj() * torch.fft.rfft(other)
        shifted = torch.fft.irfft(spectrum, len(one)) / len(one)
        assert shifted.abs().max() < 0.25 * 7 / len(one) ** 0.5


def test_kept_elements_are_scaled_and_draws_come_from_the_seed() -> None:
    torch.manual_seed(3)
    first, second = draw(0.31), draw(0.31)
    torch.manual_seed(3)
    assert (first, second) == (draw(0.31), draw(0.31))
    assert first != second
    _, mask = norm_drop(torch.rand(50, 512), PLAIN, first, torch.float32, with_mask=True)
    assert set(mask.flatten().tolist()) == {0.0, torch.tensor(first.scale).item()}
    assert abs(1 / first.scale - 0.69) < 2**-31
    assert not mask_of(Draw(0, 0, 0.0)).logical_not().any()


def test_bfloat16_is_rounded_as_torch_rounds() -> None:
    bits = torch.arange(-(2**31), 2**31, 65_521, dtype=torch.int64).to(torch.int32)
    ties = (torch.arange(0, 2**16, dtype=torch.int32) << 16) + 0x8000
    numbers = torch.cat([bits, ties]).view(torch.float32)
    numbers = numbers[numbers.isfinite() & (numbers.abs() < 1e18)]
    rows = numbers[: len(numbers) // 64 * 64].view(-1, 64)
    zeros = torch.zeros(1, len(rows), 64, dtype=torch.bfloat16)
    layer = Layer(torch.ones(64), torch.zeros(64))
    found, rounded = add_norm(rows, zeros, 1.0, layer, Draw(0, 0, 0.0))
    assert torch.equal(rounded, found.output.bfloat16())


def of_branch(dtype: torch.dtype, is_cast: bool = False) -> list[Tensor]:
    """Output and gradients of a branch, without dropout; lengths fill no vector of a processor."""
    torch.manual_seed(0)
    branch = VideoBranch(37, 48, 3, 19, 21, PUBLISHED_WIDTHS[:3], 0.6, 0.0, 0.0)
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    branch.to(dtype)
    features = torch.randn(300, 19, 37).to(dtype)
    token = torch.randn(1, 1, 48).to(dtype)
    sizes = torch.randint(1, 9, (300, 19)).to(dtype)
    slopes = torch.randn(300, 19, 48).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
        output = branch(features, token, sizes)
    (output * slopes).sum().backward()
    gradients = [parameter.grad for parameter in branch.parameters() if parameter.grad is not None]
    return [output.detach(), *gradients]


def errors(found: list[Tensor], wanted: list[Tensor]) -> list[float]:
    """Relative errors, of tensors that are more than rounding."""
    return [
        float((one - other).norm() / other.norm())
        for one, other in zip(found, wanted, strict=True)
        if other.norm() > 1e-6 * other.numel() ** 0.5
    ]


def test_outputs_and_gradients_are_those_of_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    found, cast = of_branch(torch.float32), of_branch(torch.float32, is_cast=True)
    for module in (encoders, fused_blocks, scale_mixing):
        monkeypatch.setattr(module, "can_fuse", lambda _: False)
    exact, plainly_cast = of_branch(torch.float64), of_branch(torch.float32, is_cast=True)
    assert max(errors(found, exact)) < 1e-5
    # Rounded operands change some gradients by some percent, however it is done.
    by_cast, by_plain_cast = errors(cast, exact), errors(plainly_cast, exact)
    assert by_cast[0] < 0.004
    assert all(
        one < max(0.01, 2 * other) for one, other in zip(by_cast, by_plain_cast, strict=True)
    )
    assert sum(by_cast) < 1.25 * sum(by_plain_cast)


def test_threads_change_only_the_last_bits_of_sums() -> None:
    found, threads = [], torch.get_num_threads()
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            torch.manual_seed(4)
            rows, added = torch.randn(9000, 128), torch.randn(4, 9000, 32)
            layer = Layer(torch.rand(128), torch.rand(128))
            output = add_norm(rows, added, 1.5, layer, draw(0.3))[0].output
            found.append([output, join_heads(added)[1]])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    projection = InputProjection(5, 8, 3, 0.2, 0.2)
    features = torch.randn(4, 3, 5)
    features[2, 1, 3] = value
    rows = projection(features)
    assert not rows[2, 1].isfinite().any()
    assert rows[[0, 1, 3]].isfinite().all()


def test_scores_that_are_no_numbers_are_not_hidden_by_the_softmax() -> None:
    scores = torch.zeros(2, 3, 3)
    scores[1, 2, 0] = torch.nan
    found = attend(scores, torch.ones(1, 3), None, Draw(0, 0, 0.0))
    assert found[1, 2].isnan().all()
    assert found.isnan().sum() == 3


def test_an_empty_batch_has_gradients_of_zero() -> None:
    branch = VideoBranch(6, 8, 2, 5, 5, PUBLISHED_WIDTHS[:2], 0.6, 0.1, 0.1)
    output = branch(torch.zeros(0, 5, 6), torch.zeros(1, 1, 8))
    output.sum().backward()
    assert output.shape == (0, 5, 8)
    gradients = [parameter.grad for parameter in branch.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_loops_are_compiled_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    twice = row_kernels.compiled(lambda value: 2 * value)
    assert twice(3.5) == 7


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.4, 0.3)])
def test_gradient_of_the_projection_is_right(rates: tuple[float, float]) -> None:
    projection = InputProjection(5, 4, 3, *rates).double()
    features = torch.randn(2, 3, 5, dtype=torch.float64)

    def output(*_: Tensor) -> Tensor:
        torch.manual_seed(3)
        return projection(features)

    assert torch.autograd.gradcheck(output, tuple(projection.parameters()))


def test_fast_products_of_float32_round_nothing() -> None:
    processor.use_fast_products()
    torch.manual_seed(5)
    for rows, inner, columns in ((7, 3, 5), (640, 96, 384), (1, 1000, 3)):
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        exact = left.double() @ right.double()
        # Rounded operands would be off by 0.4 % of a product.
        assert (left @ right - exact).abs().max() < 1e-5 * inner**0.5


def test_an_older_torch_keeps_its_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_PRODUCTS", None)
    assert not processor._is_fast_in_onednn.__wrapped__()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not processor.multiplies_bfloat16.__wrapped__()
