"""BertAdam and its learning-rate schedule.

Source: the MSC paper, training as published.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prvr_model.settings import OptimizerSettings

# Added to a gradient's norm before the clipping ratio is taken.
_CLIP_EPSILON = 1e-6
# Adam divides its moments by 1 - beta^steps, which is 1 after so many: no correction.
_MANY_STEPS = 1e9


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
        skipped = None if applied is None else (~applied).float()
        for group in self.param_groups:
            used: list[Tensor] = [weight for weight in group["params"] if weight.grad is not None]
            if used:
                self._update(used, group["weight_decay"], skipped)
        self.steps_done += 1

    def _update(
        self, parameters: list[Tensor], weight_decay: float, skipped: Float[Tensor, ""] | None
    ) -> None:
        gradients = self._clipped([weight.grad for weight in parameters if weight.grad is not None])
        means, squares = (
            [self._moment(parameter, name) for parameter in parameters]
            for name in ("mean", "square")
        )
        steps = torch.full((), _MANY_STEPS, device=parameters[0].device)
        torch._fused_adamw_(
            parameters,
            gradients,
            means,
            squares,
            [],
            [steps] * len(parameters),
            lr=self.learning_rate,
            beta1=self.settings.beta1,
            beta2=self.settings.beta2,
            weight_decay=weight_decay,
            eps=self.settings.epsilon,
            amsgrad=False,
            maximize=False,
            found_inf=skipped,
        )

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
