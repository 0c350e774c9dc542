"""BertAdam and its learning-rate schedule.

Source: the MSC paper, training as published.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import TypedDict

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from prvr_model.settings import OptimizerSettings

# Added to a gradient's norm before the clipping ratio is taken.
_CLIP_EPSILON = 1e-6


def schedule_factor(progress: float, warmup_share: float) -> float:
    """Factor on the learning rate at a share of the schedule's horizon.

    Linear from 0 to 1 over the warm-up, then linear to 0 at the end; never negative.
    """
    if progress < warmup_share:
        return progress / warmup_share
    return max((progress - 1) / (warmup_share - 1), 0.0)


class _Group(TypedDict):
    params: list[nn.Parameter]
    weight_decay: float


class BertAdam:
    """Adam without bias correction, with decoupled weight decay inside the update.

    Each parameter's gradient is clipped to a norm of its own. All parameters are updated
    together, without a loop over them and without waiting for the device.

    It is no `torch.optim.Optimizer`, the first of which imports torch's compiler: a second in every
    process that trains, and 100 MB.

    Args:
        decayed: Parameters under weight decay.
        free: Parameters without weight decay.
        settings: Learning rate, betas, decay, clip.
        total_steps: Horizon of the schedule in steps.
    """

    def __init__(
        self,
        decayed: Iterable[nn.Parameter],
        free: Iterable[nn.Parameter],
        settings: OptimizerSettings,
        total_steps: int,
    ) -> None:
        self.param_groups: list[_Group] = [
            {"params": list(decayed), "weight_decay": settings.weight_decay},
            {"params": list(free), "weight_decay": 0.0},
        ]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        self.settings = settings
        self.total_steps = total_steps
        self.steps_done = 0

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        progress = self.steps_done / self.total_steps
        return self.settings.learning_rate * schedule_factor(progress, self.settings.warmup_share)

    def zero_grad(self) -> None:
        """Drop all gradients, and their memory."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, applied: Bool[Tensor, ""] | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            applied: Flag on the parameters' device: where it is False, parameters and moments
                stay as they are to the last bit, whatever the gradients hold. The host does not
                learn its value. None: the update is applied.
        """
        learning_rate = self.learning_rate
        changed = [] if applied is None else self._changed()
        before = None if applied is None else _joined(changed)
        for group in self.param_groups:
            used: list[Tensor] = [weight for weight in group["params"] if weight.grad is not None]
            if used:
                self._update(used, group["weight_decay"], learning_rate)
        if applied is not None and before is not None:
            _restore_unless(applied, changed, before)
        self.steps_done += 1

    def _changed(self) -> list[Tensor]:
        """Everything that a step changes."""
        parameters = [weight for group in self.param_groups for weight in group["params"]]
        used = [parameter for parameter in parameters if parameter.grad is not None]
        return [
            *used,
            *(self._moment(weight, name) for weight in used for name in ("mean", "square")),
        ]

    def _update(self, parameters: list[Tensor], weight_decay: float, learning_rate: float) -> None:
        beta1, beta2 = self.settings.beta1, self.settings.beta2
        gradients = self._clipped([weight.grad for weight in parameters if weight.grad is not None])
        means, squares = (
            [self._moment(parameter, name) for parameter in parameters]
            for name in ("mean", "square")
        )
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_add_(denominators, self.settings.epsilon)
        updates = torch._foreach_div(means, denominators)
        if weight_decay:
            torch._foreach_add_(updates, parameters, alpha=weight_decay)
        torch._foreach_add_(parameters, updates, alpha=-learning_rate)

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        """Gradients scaled down to the largest norm allowed, each by itself."""
        norms = torch._foreach_norm(gradients)
        torch._foreach_add_(norms, _CLIP_EPSILON)
        ratios = torch._foreach_reciprocal(norms)
        torch._foreach_mul_(ratios, self.settings.gradient_clip)
        torch._foreach_clamp_max_(ratios, 1.0)
        return list(torch._foreach_mul(gradients, ratios))

    def _moment(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        return state[name]


def _joined(tensors: list[Tensor]) -> Tensor:
    """A copy of all elements in one vector: few operations, however many tensors there are."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def _restore_unless(applied: Tensor, tensors: list[Tensor], before: Tensor) -> None:
    """Give tensors back their elements of `before` where the flag is False."""
    after = _joined(tensors)
    # `where`, not a product: NaN times zero is NaN.
    torch.where(applied, after, before, out=after)
    parts = after.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(
        tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
    )
