"""BertAdam against a loop over parameters and numbers, written from its description."""

import math
import subprocess
import sys

import pytest
import torch

from prvr_model.settings import OptimizerSettings
from prvr_model.training.optimizer import BertAdam, schedule_factor
from prvr_model.training.train_loop import build_optimizer
from tests.locations import ROOT
from tests.prvr_model.tiny import tiny_model, tiny_settings

SETTINGS = OptimizerSettings(learning_rate=0.1, warmup_share=0.2, weight_decay=0.05)


def slow_factor(step: int, total: int, warmup: float) -> float:
    x = step / total
    return x / warmup if x < warmup else (x - 1) / (warmup - 1)


def slow_steps(
    start: list[float], gradients: list[list[float]], decay: float, total: int
) -> list[float]:
    values, means, squares = list(start), [0.0] * len(start), [0.0] * len(start)
    for step, gradient in enumerate(gradients):
        norm = math.sqrt(sum(g * g for g in gradient))
        clip = min(1.0, 1 / (norm + 1e-6))
        rate = 0.1 * slow_factor(step, total, 0.2)
        for i, raw in enumerate(gradient):
            g = raw * clip
            means[i] = 0.9 * means[i] + 0.1 * g
            squares[i] = 0.999 * squares[i] + 0.001 * g * g
            update = means[i] / (math.sqrt(squares[i]) + 1e-6) + decay * values[i]
            values[i] -= rate * update
    return values


def test_steps_equal_the_loop_parameter_by_parameter() -> None:
    generator = torch.Generator().manual_seed(0)
    # Gradient norms far above and below 1: each parameter is clipped by itself.
    scales = [100.0, 0.01, 1.0]
    parameters = [
        torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_() for _ in scales
    ]
    start = [weight.tolist() for weight in parameters]
    optimizer = BertAdam(parameters[:2], parameters[2:], SETTINGS, total_steps=12)
    history: list[list[list[float]]] = [[] for _ in parameters]
    for _ in range(12):
        for number, (parameter, scale) in enumerate(zip(parameters, scales, strict=True)):
            parameter.grad = torch.randn(4, generator=generator, dtype=torch.float64) * scale
            history[number].append(parameter.grad.tolist())
        optimizer.step()
    for number, decay in enumerate((0.05, 0.05, 0.0)):
        wanted = slow_steps(start[number], history[number], decay, 12)
        assert parameters[number].tolist() == pytest.approx(wanted, rel=1e-12)


def test_the_first_step_has_rate_zero_but_fills_the_moments() -> None:
    parameter = torch.ones(3, requires_grad=True)
    optimizer = BertAdam([parameter], [], SETTINGS, total_steps=10)
    parameter.grad = torch.ones(3)
    assert optimizer.learning_rate == 0
    optimizer.step()
    assert (parameter == 1).all()
    assert (optimizer.state[parameter]["mean"] > 0).all()


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.5])
def test_schedule_rises_and_falls(warmup: float) -> None:
    factors = [schedule_factor(step / 200, warmup) for step in range(201)]
    wanted = [slow_factor(step, 200, warmup) if warmup else 1 - step / 200 for step in range(201)]
    assert factors == pytest.approx(wanted)
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert factors[-1] == 0
    assert schedule_factor(1.5, warmup) == 0


def test_a_parameter_without_gradient_is_left_alone() -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = BertAdam([used, unused], [], SETTINGS, total_steps=10)
    for _ in range(3):
        used.grad = torch.ones(2)
        optimizer.step()
    assert (unused == 1).all()
    assert (used != 1).all()
    assert unused not in optimizer.state


def test_decay_spares_biases_and_the_norms_of_the_inputs_alone() -> None:
    model = tiny_model(tiny_settings())
    decayed = {id(parameter) for parameter in model.decayed_parameters()}
    free = {name for name, parameter in model.named_parameters() if id(parameter) not in decayed}
    norms = {
        f"{part}.projection.{norm}.weight"
        for part in ("clip_branch", "frame_branch", "caption_encoder")
        for norm in ("feature_norm", "position_norm")
    }
    biases = {name for name, _ in model.named_parameters() if name.endswith(".bias")}
    assert free == norms | biases
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    assert {"clip_branch.blocks.0.attention_norm.weight", "mixing_token"} <= names


def test_every_parameter_is_in_one_group_and_the_horizon_counts_batches() -> None:
    settings = tiny_settings(optimizer__schedule_epochs=7)
    model = tiny_model(settings)
    optimizer = build_optimizer(model, settings, num_videos=12)
    groups = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(groups) == sorted(id(parameter) for parameter in model.parameters())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0]
    # 12 videos in batches of 5: 5, 5, 2.
    assert optimizer.total_steps == 7 * 3


def copies(optimizer: BertAdam, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    moments = [
        optimizer.state[weight][name] for weight in parameters for name in ("mean", "square")
    ]
    return [weight.detach().clone() for weight in (*parameters, *moments)]


def two_optimizers() -> list[tuple[BertAdam, list[torch.Tensor]]]:
    """Twice the same after two steps, parameters with and without decay, some without gradient."""
    made = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        shapes = [(3, 4), (5,), (), (2, 2)]
        parameters = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
        optimizer = BertAdam(parameters[:2], parameters[2:], SETTINGS, total_steps=9)
        for _ in range(2):
            for weight in parameters[:3]:
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        made.append((optimizer, parameters[:3]))
    return made


def test_a_step_under_a_flag_that_is_true_is_the_step_to_the_last_bit() -> None:
    (plain, parameters), (flagged, others) = two_optimizers()
    plain.step()
    flagged.step(applied=torch.tensor(True))
    after = zip(copies(plain, parameters), copies(flagged, others), strict=True)
    assert all(torch.equal(one, other) for one, other in after)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_under_a_flag_that_is_false_changes_nothing_whatever_the_gradients(
    bad: float,
) -> None:
    optimizer, parameters = two_optimizers()[0]
    before = copies(optimizer, parameters)
    for weight in parameters:
        weight.grad = torch.full_like(weight, bad)
    optimizer.step(applied=torch.tensor(False))
    after = copies(optimizer, parameters)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    # Without the flag the same gradients spoil everything.
    optimizer.step()
    assert not any(copy.isfinite().any() for copy in copies(optimizer, parameters))


def test_a_first_step_under_a_flag_that_is_false_leaves_moments_of_zero() -> None:
    parameter = torch.ones(3, requires_grad=True)
    optimizer = BertAdam([parameter], [], SETTINGS, total_steps=10)
    parameter.grad = torch.full((3,), math.nan)
    optimizer.step(applied=torch.tensor(False))
    assert (parameter == 1).all()
    assert all((moment == 0).all() for moment in optimizer.state[parameter].values())


def test_gradients_are_dropped() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    BertAdam([], [parameter], SETTINGS, total_steps=1).zero_grad()
    assert parameter.grad is None


def test_torchs_compiler_is_not_imported() -> None:
    code = """
import sys, torch
from prvr_model.settings import OptimizerSettings
from prvr_model.training.optimizer import BertAdam
optimizer = BertAdam([torch.nn.Parameter(torch.ones(1))], [], OptimizerSettings(), 1)
optimizer.zero_grad()
optimizer.step()
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "False\n", done.stderr
