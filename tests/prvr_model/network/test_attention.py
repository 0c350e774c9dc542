"""Gaussian factor and attention block against the formulas, position by position."""

import math

import pytest
import torch
from torch import Tensor, nn

from prvr_model.network import encoders, fused_blocks, scale_mixing
from prvr_model.network.attention import AttentionBlock, gaussian_prior, padding_bias
from prvr_model.network.encoders import CaptionEncoder, VideoBranch
from prvr_model.network.fused_blocks import parallel_blocks
from prvr_model.network.scale_mixing import ScaleMixing
from prvr_model.settings import PUBLISHED_WIDTHS
from tests.cases import rest_in_soak


@pytest.mark.parametrize("width", [w for w in PUBLISHED_WIDTHS if w is not None] + [0.001])
@pytest.mark.parametrize("length", [1, 2, 7, 32])
def test_gaussian_factor_equals_the_formula(width: float, length: int) -> None:
    deviation = max(width, 0.01) / 9
    found = gaussian_prior(length, width)
    for i in range(length):
        centre = i / length
        row = [
            math.exp(-((j / max(length - 1, 1) - centre) ** 2) / (2 * deviation**2))
            for j in range(length)
        ]
        largest = max(row)
        if largest > 1e-300:
            wanted = torch.tensor([value / largest for value in row])
            torch.testing.assert_close(found[i], wanted)
        assert found[i].max() == 1


def linear(layer: nn.Linear, rows: Tensor) -> Tensor:
    return rows @ layer.weight.T + layer.bias


def slow_norm(norm: nn.LayerNorm, rows: Tensor) -> Tensor:
    mean = rows.mean(-1, keepdim=True)
    variance = ((rows - mean) ** 2).mean(-1, keepdim=True)
    return (rows - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def slow_block(
    block: AttentionBlock, rows: Tensor, factor: Tensor | None, bias: Tensor | None
) -> Tensor:
    """One video at a time, one head at a time, one position at a time."""
    layer, size = block.attention, rows.shape[-1] // block.attention.num_heads
    videos = []
    for number, x in enumerate(rows):
        q, k, v = linear(layer.query, x), linear(layer.key, x), linear(layer.value, x)
        heads = []
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            outputs = []
            for i in range(len(x)):
                scores = [q[i, part] @ k[j, part] / math.sqrt(size) for j in range(len(x))]
                row = torch.stack(scores)
                row = row if factor is None else row * factor[i]
                row = row if bias is None else row + bias[number]
                weights = row.exp() / row.exp().sum()
                outputs.append(sum(weights[j] * v[j, part] for j in range(len(x))))
            heads.append(torch.stack(outputs))
        x = slow_norm(block.attention_norm, x + torch.cat(heads, dim=-1))
        changed = linear(block.contract, linear(block.expand, x).clamp_min(0))
        videos.append(slow_norm(block.output_norm, x + changed))
    return torch.stack(videos)


def randomised(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    return module.double().eval()


def whole_block(
    block: AttentionBlock, rows: Tensor, factor: Tensor | None, bias: Tensor | None
) -> Tensor:
    factors = None if factor is None else factor[None]
    (found,) = parallel_blocks(rows, [block], factors, None if bias is None else bias[:, None])
    return found


def slow_summary(block: AttentionBlock, token: Tensor, source: Tensor) -> Tensor:
    """One token attends to a source of its own, keys and values made for every position."""
    layer, size = block.attention, source.shape[-1] // block.attention.num_heads
    q, k, v = linear(layer.query, token), linear(layer.key, source), linear(layer.value, source)
    heads = []
    for head in range(layer.num_heads):
        part = slice(head * size, (head + 1) * size)
        weights = (k[:, part] @ q[part] / math.sqrt(size)).softmax(dim=0)
        heads.append(weights @ v[:, part])
    x = slow_norm(block.attention_norm, token + torch.cat(heads))
    changed = linear(block.contract, linear(block.expand, x).clamp_min(0))
    return slow_norm(block.output_norm, x + changed)


@pytest.mark.parametrize(("with_bias", "rate"), rest_in_soak([(True, 0.4), (False, 0.0)]))
def test_gradient_of_fused_blocks_is_right(with_bias: bool, rate: float) -> None:
    blocks = [randomised(AttentionBlock(4, 2, 8, rate)).train() for _ in range(2)]
    rows = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    factors = torch.stack([gaussian_prior(3, width).double() for width in (0.5, 5.0)])
    bias = torch.randn(2, 1, 3, dtype=torch.float64) if with_bias else None
    parameters = [parameter for block in blocks for parameter in block.parameters()]

    def outputs(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        return parallel_blocks(x, blocks, factors, bias)

    assert torch.autograd.gradcheck(outputs, (rows, *parameters))


@pytest.mark.parametrize("rate", rest_in_soak([0.4, 0.0]))
def test_gradient_of_mixing_is_right(rate: float) -> None:
    mixing = randomised(ScaleMixing(4, 2, length=3, temperature=0.6, dropout_rate=rate)).train()
    outputs = [torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    token = torch.randn(1, 1, 4, dtype=torch.float64, requires_grad=True)

    def mixed(token: Tensor, *values: Tensor) -> Tensor:
        torch.manual_seed(3)
        return mixing(values[:3], token)

    assert torch.autograd.gradcheck(mixed, (token, *outputs, *mixing.parameters()))


def test_fused_and_plain_form_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output and gradients of a whole branch."""
    torch.manual_seed(0)
    branch = VideoBranch(6, 8, 2, 5, 5, PUBLISHED_WIDTHS[:3], 0.6, 0.0, 0.0).double()
    features = torch.randn(3, 5, 6, dtype=torch.float64)
    token = torch.randn(1, 1, 8, dtype=torch.float64)
    sizes = torch.randint(1, 9, (3, 5)).double()
    found = {}
    for fused in (True, False):
        for module in (encoders, fused_blocks, scale_mixing):
            monkeypatch.setattr(module, "can_fuse", lambda _, fused=fused: fused)
        branch.zero_grad()
        output = branch(features, token, sizes)
        output.square().sum().backward()
        found[fused] = [
            output.detach(),
            *(parameter.grad.clone() for parameter in branch.parameters()),
        ]
    for gradient, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(gradient, other)


def test_fused_dropout_has_the_plain_form_s_mean() -> None:
    """Masks differ, so the two forms agree on average over many draws only."""
    block = randomised(AttentionBlock(4, 2, 8, 0.3)).train()
    rows = torch.randn(1, 3, 4, dtype=torch.float64).expand(20_000, 3, 4)
    with torch.no_grad():
        fused, plain = parallel_blocks(rows, [block])[0], block(rows)
    spread = (fused.var(dim=0) / len(rows) * 2).sqrt()
    assert ((fused.mean(dim=0) - plain.mean(dim=0)).abs() < 5 * spread).all()
    torch.testing.assert_close(fused.var(dim=0), plain.var(dim=0), rtol=0.05, atol=0)
    assert not torch.allclose(fused.mean(dim=0), block.eval()(rows[:1])[0], atol=1e-3)


def test_block_equals_the_formula_with_factor_and_sizes() -> None:
    block = randomised(AttentionBlock(8, 2, 32, dropout_rate=0.5))
    rows = torch.randn(3, 5, 8, dtype=torch.float64)
    factor = gaussian_prior(5, 0.5).double()
    log_sizes = torch.randint(1, 9, (3, 5)).double().log()
    found = whole_block(block, rows, factor, log_sizes)
    torch.testing.assert_close(found, slow_block(block, rows, factor, log_sizes))
    # The factor acts before the sizes are added: the other order is another function.
    other = slow_block(block, rows, factor, log_sizes / factor.mean())
    assert not torch.allclose(found, other)


def test_padding_has_no_part_in_a_caption() -> None:
    encoder = randomised(CaptionEncoder(6, 8, 2, 12, 0.3, 0.3))
    tokens = torch.randn(2, 4, 6, dtype=torch.float64)
    valid = torch.tensor([[True, True, True, False], [True, False, False, False]])
    alone = [encoder(tokens[:1, :3], valid[:1, :3]), encoder(tokens[1:, :1], valid[1:, :1])]
    changed = torch.where(valid[:, :, None], tokens, 100.0)
    torch.testing.assert_close(encoder(changed, valid), torch.cat(alone))


def test_padding_bias_is_the_published_number() -> None:
    bias = padding_bias(torch.tensor([[True, False]]))
    assert bias.tolist() == [[[0.0, -10_000.0]]]


def test_mixture_is_convex_at_every_position() -> None:
    mixing = randomised(ScaleMixing(8, 2, length=5, temperature=0.6, dropout_rate=0.2))
    outputs = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    token = torch.randn(1, 1, 8, dtype=torch.float64)
    found = mixing(outputs.unbind(1), token)
    for video in range(2):
        summaries = torch.stack(
            [slow_summary(mixing.summary, token[0, 0], scale) for scale in outputs[video]]
        )
        logits = linear(mixing.weights, linear(mixing.hidden, summaries).clamp_min(0)) / 0.6
        for position in range(5):
            weights = logits[:, position].exp() / logits[:, position].exp().sum()
            wanted = sum(weights[s] * outputs[video, s, position] for s in range(3))
            torch.testing.assert_close(found[video, position], wanted)


def test_fewer_scales_are_the_first_of_the_published_order() -> None:
    branch = VideoBranch(6, 8, 2, 5, 5, PUBLISHED_WIDTHS[:4], 0.6, 0.0, 0.0)
    assert (branch.priors[0] == 1).all()
    wanted = [gaussian_prior(5, width) for width in (0.5, 1.0, 5.0)]
    torch.testing.assert_close(branch.priors[1:], torch.stack(wanted))


def test_a_clip_counts_for_its_frames() -> None:
    branch = randomised(VideoBranch(6, 8, 2, 5, 9, (0.5,), 0.6, 0.0, 0.0))
    features = torch.randn(2, 5, 6, dtype=torch.float64)
    sizes = torch.tensor([[1, 8, 2, 4, 1], [1, 1, 1, 1, 1]]).double()
    rows, factor = branch.projection(features), gaussian_prior(5, 0.5).double()
    found = branch(features, torch.zeros(1, 1, 8, dtype=torch.float64), sizes)
    torch.testing.assert_close(found, slow_block(branch.blocks[0], rows, factor, sizes.log()))


def test_input_projection_equals_the_formula() -> None:
    branch = randomised(VideoBranch(6, 8, 2, 5, 9, (None,), 0.6, 0.5, 0.5))
    layer, features = branch.projection, torch.randn(2, 5, 6, dtype=torch.float64)
    rows = linear(layer.linear, slow_norm(layer.feature_norm, features)).clamp_min(0)
    wanted = slow_norm(layer.position_norm, rows + layer.positions.weight[:5])
    torch.testing.assert_close(layer(features), wanted)


def test_one_scale_is_its_own_mixture() -> None:
    branch = randomised(VideoBranch(6, 8, 2, 5, 5, (None,), 0.6, 0.0, 0.0))
    features = torch.randn(2, 5, 6, dtype=torch.float64)
    rows = branch.projection(features)
    found = branch(features, torch.zeros(1, 1, 8, dtype=torch.float64))
    torch.testing.assert_close(found, slow_block(branch.blocks[0], rows, None, None))


@pytest.mark.parametrize("rows_at_once", [1, 7, 12])
def test_parts_of_a_batch_do_not_change_its_encoding(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch = randomised(VideoBranch(6, 8, 2, 5, 5, PUBLISHED_WIDTHS[:2], 0.6, 0.0, 0.0))
    encoder = randomised(CaptionEncoder(6, 8, 2, 12, 0.0, 0.0))
    features = torch.randn(5, 5, 6, dtype=torch.float64)
    sizes = torch.randint(1, 9, (5, 5)).double()
    token = torch.randn(1, 1, 8, dtype=torch.float64)
    lengths = torch.tensor([3, 1, 4, 4, 2])
    valid = torch.arange(4) < lengths[:, None]
    tokens = torch.randn(5, 4, 6, dtype=torch.float64) * valid[:, :, None]
    whole = branch(features, token, sizes), encoder(tokens, valid)
    monkeypatch.setattr(encoders, "_ROWS_AT_ONCE", {"cpu": rows_at_once})
    parts = branch(features, token, sizes), encoder(tokens, valid)
    for part, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, other)
