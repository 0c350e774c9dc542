"""The TCPL angle loss, forward and backward, against building all differences.

Run `python -m tests.benchmarks.angle_loss --json`. The differences need some 6 GB at the default
size and grow with its cube: `--no-baseline` measures ours alone at larger ones.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from prvr_model.losses.tcpl import angle_loss
from tests.benchmarks.measure import PeakMemory, arguments, gemm_gflops, seconds, show


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=640)
    parser.add_argument("--teacher-dim", type=int, default=768)
    parser.add_argument("--student-dim", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-baseline", action="store_true", help="do not build differences")
    options = arguments(parser)
    student = torch.randn(options.captions, options.student_dim, requires_grad=True)
    teacher = torch.randn(options.captions, options.teacher_dim)
    # A first small one: threads and libraries start.
    forward_and_backward(angle_loss, student[:8], teacher[:8])

    def ours() -> None:
        forward_and_backward(angle_loss, student, teacher)

    with PeakMemory() as memory:
        ours_s = seconds(ours, options.repeats)
    result = {
        "ours_s": ours_s,
        "extra_mb": memory.extra_mb,
        "gemm_gflops": gemm_gflops(),
        **compare(student, teacher, ours_s, options.no_baseline),
    }
    show(result, options)


def compare(student: Tensor, teacher: Tensor, ours_s: float, skip: bool) -> dict[str, float | None]:
    """The baseline's time and how far the two losses and gradients are from each other."""
    names = ("differences_s", "speedup", "differences_extra_mb", "loss_error", "gradient_error")
    if skip:
        return dict.fromkeys(names)
    ours = forward_and_backward(angle_loss, student, teacher)
    with PeakMemory() as memory:
        differences_s = seconds(lambda: forward_and_backward(by_differences, student, teacher))
    wanted = forward_and_backward(by_differences, student, teacher)
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(ours, wanted, strict=True)]
    values = (differences_s, differences_s / ours_s, memory.extra_mb, *errors)
    return dict(zip(names, values, strict=True))


def forward_and_backward(
    loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss and its gradient by the student."""
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    return value.detach(), gradient


def by_differences(student: Tensor, teacher: Tensor) -> Tensor:
    """The definition as it stands: directions (Q, Q, D), angles (Q, Q, Q)."""
    return F.smooth_l1_loss(_angles(student), _angles(teacher))


def _angles(rows: Tensor) -> Tensor:
    directions = F.normalize(rows[None, :, :] - rows[:, None, :], dim=2)
    return torch.bmm(directions, directions.transpose(1, 2))


if __name__ == "__main__":
    main()
