"""TCPL against explicit differences of all triples, in float64; equal and nearly equal captions."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from prvr_model.losses import tcpl
from prvr_model.losses.tcpl import angle_loss, distance_loss


def slow_angles(rows: Tensor) -> Tensor:
    differences = rows[None, :] - rows[:, None]
    norms = differences.norm(dim=-1, keepdim=True)
    # Equal captions have no direction: no angle and no gradient.
    units = differences / torch.where(norms > 0, norms, torch.inf)
    return torch.einsum("ijd,ikd->ijk", units, units)


def slow_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    return F.smooth_l1_loss(slow_angles(student), slow_angles(teacher))


def slow_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    relative = []
    for rows in (student, teacher):
        count = len(rows)
        distances = [
            [
                torch.zeros(()).double()
                if i == j
                else ((rows[i] - rows[j]) ** 2).sum().clamp_min(1e-12).sqrt()
                for j in range(count)
            ]
            for i in range(count)
        ]
        matrix = torch.stack([torch.stack(row) for row in distances])
        positive = matrix[matrix > 0]
        relative.append(matrix / positive.mean() if len(positive) else matrix)
    return F.smooth_l1_loss(*relative)


def rows_and_gradient(loss: object, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    leaf = student.clone().requires_grad_()
    value = loss(leaf, teacher)  # type: ignore[operator]
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def captions(count: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) + 0.5


PAIRS = [(angle_loss, slow_angle_loss), (distance_loss, slow_distance_loss)]


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
@pytest.mark.parametrize("count", [2, 3, 9, 20])
def test_loss_and_gradient_equal_the_explicit_form(fast: object, slow: object, count: int) -> None:
    student, teacher = captions(count, 6), captions(count, 4, seed=1)
    found = rows_and_gradient(fast, student, teacher)
    wanted = rows_and_gradient(slow, student, teacher)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
@pytest.mark.parametrize("who", ["student", "teacher", "both"])
def test_equal_captions(fast: object, slow: object, who: str) -> None:
    student, teacher = captions(8, 6), captions(8, 4, seed=1)
    for rows in [student] * (who != "teacher") + [teacher] * (who != "student"):
        rows[5], rows[6], rows[7] = rows[1], rows[1], rows[2]
    found = rows_and_gradient(fast, student, teacher)
    wanted = rows_and_gradient(slow, student, teacher)
    # The floor leaves the distance of equal captions at 1e-6: rounding shows at that scale.
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", [angle_loss, distance_loss])
@pytest.mark.parametrize("count", [1, 2])
def test_few_captions_have_no_relations_to_lose(loss: object, count: int) -> None:
    student, teacher = captions(count, 6), captions(count, 4, seed=1)
    value, gradient = rows_and_gradient(loss, student, teacher)
    # Two captions have one distance, relative to itself, and one angle, with itself.
    torch.testing.assert_close(value, torch.zeros(()).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


@pytest.mark.parametrize("loss", [angle_loss, distance_loss])
def test_captions_that_are_all_equal_stay_finite(loss: object) -> None:
    equal = captions(1, 6).float().repeat(5, 1)
    for student, teacher in ((equal, equal), (equal, captions(5, 4).float())):
        value, gradient = rows_and_gradient(loss, student, teacher)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("elements", [1, 3 * 11**2, 1 << 20])
def test_tiles_of_accelerators_do_not_change_the_numbers(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = captions(11, 6), captions(11, 4, seed=1)
    student[7], teacher[8], student[10], teacher[10] = (
        student[2],
        teacher[3],
        student[0],
        teacher[0],
    )
    wanted = rows_and_gradient(angle_loss, student, teacher)
    monkeypatch.setattr(tcpl, "can_fuse", lambda rows: False)
    monkeypatch.setattr(tcpl, "_BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(tcpl, "_TILE_ROWS", 3)
    found = rows_and_gradient(angle_loss, student, teacher)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_losses_of_parts_of_the_anchors_add_up() -> None:
    student, teacher = captions(11, 6), captions(11, 4, seed=1)
    whole = rows_and_gradient(angle_loss, student, teacher)
    parts = [
        rows_and_gradient(lambda s, t, part=part: angle_loss(s, t, part), student, teacher)
        for part in (slice(0, 3), slice(3, 3), slice(3, 11))
    ]
    for candidate, others in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(sum(others), candidate)


@pytest.mark.parametrize(("apart", "tolerance"), [(1e-2, 1e-4), (1e-3, 1e-3), (1e-4, 1e-2)])
def test_float32_keeps_the_angles_of_nearly_equal_captions(apart: float, tolerance: float) -> None:
    student, teacher = captions(40, 16), captions(40, 12, seed=1)
    for rows in (student, teacher):
        rows[20:30] = rows[:10] + apart * captions(10, rows.shape[1], seed=2)
    student, teacher = student.float(), teacher.float()
    found, gradient = rows_and_gradient(angle_loss, student, teacher)
    wanted, exact = rows_and_gradient(slow_angle_loss, student.double(), teacher.double())
    assert float(found) == pytest.approx(float(wanted), rel=tolerance)
    assert (gradient.double() - exact).norm() < tolerance * exact.norm()


def test_the_teacher_gets_no_gradient() -> None:
    teacher = captions(5, 4).requires_grad_()
    student = captions(5, 6).requires_grad_()
    (angle_loss(student, teacher) + distance_loss(student, teacher)).backward()
    assert teacher.grad is None


def test_the_gradient_scales_with_the_weight() -> None:
    student, teacher = captions(6, 6), captions(6, 4, seed=1)
    _, once = rows_and_gradient(angle_loss, student, teacher)
    _, scaled = rows_and_gradient(lambda s, t: 30 * angle_loss(s, t), student, teacher)
    torch.testing.assert_close(scaled, 30 * once)
