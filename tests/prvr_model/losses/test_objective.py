"""The whole objective: batched, without a look at the device's numbers, in any precision."""

from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from prvr_model.losses import tcpl
from prvr_model.losses.infonce import infonce
from prvr_model.losses.objective import LossTerms, compute_losses, loss_term_names
from prvr_model.network import encoders, fused_blocks, scale_mixing
from prvr_model.network.similarity import score_both
from prvr_model.training.train_loop import gradient_norm
from tests.prvr_model.tiny import random_batch, random_draws, tiny_model, tiny_settings

SETTINGS = tiny_settings(model__dropout=0.0, model__input_dropout=0.0)
BRANCHES = ["off", "fixed", "adaptive"]


def losses_of(
    captions: list[int], dtype: torch.dtype = torch.float32, hard: bool = False, **changes: object
) -> tuple[LossTerms, dict[str, Tensor]]:
    settings = tiny_settings(model__dropout=0.0, model__input_dropout=0.0, **changes)
    torch.manual_seed(3)
    model = tiny_model(settings, dtype)
    batch = random_batch(settings, captions, dtype=dtype)
    terms = compute_losses(model, batch, settings.losses, random_draws(batch), hard)
    terms.total.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return terms, gradients


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("cross_branch", BRANCHES)
@pytest.mark.parametrize("captions", [[1], [3], [1, 1], [2, 1, 4]])
def test_any_batch_gives_finite_losses(captions: list[int], cross_branch: str, hard: bool) -> None:
    terms, gradients = losses_of(captions, hard=hard, losses__cross_branch=cross_branch)
    assert terms.stacked().isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert (terms.cbva == 0) == (cross_branch == "off")


def test_float64_agrees_with_float32() -> None:
    single, single_gradients = losses_of([2, 3, 1])
    double, double_gradients = losses_of([2, 3, 1], torch.float64)
    assert double.stacked().dtype == torch.float64
    for name in loss_term_names():
        # float32 carries seven digits, and a term is a sum of many rounded ones.
        torch.testing.assert_close(
            getattr(single, name).double(), getattr(double, name), rtol=2e-6, atol=1e-7
        )
    for name, gradient in single_gradients.items():
        error = (gradient.double() - double_gradients[name]).norm()
        assert error <= 1e-3 * double_gradients[name].norm() + 1e-6, name


class _Calls(TorchDispatchMode):
    """Counts the operations that reach the device, and those that read a number back."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.reads: list[str] = []

    def __torch_dispatch__(  # type: ignore[override]
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        self.count += 1
        if any(word in str(func) for word in ("local_scalar_dense", "nonzero", "is_nonzero")):
            self.reads.append(str(func))
        return func(*args, **(kwargs or {}))


def operations(captions: list[int], hard: bool) -> _Calls:
    model = tiny_model(SETTINGS)
    batch = random_batch(SETTINGS, captions)
    draws = random_draws(batch)
    with _Calls() as calls:
        terms = compute_losses(model, batch, SETTINGS.losses, draws, hard)
        terms.total.backward()
        gradient_norm(model)
    return calls


@pytest.mark.parametrize("hard", [False, True])
def test_work_is_batched_and_nothing_is_read_back(hard: bool) -> None:
    few, many = operations([2, 1, 2], hard), operations([2, 3, 2, 4, 3, 2, 5, 4], hard)
    assert many.count == few.count > 100
    assert few.reads == many.reads == []


@pytest.mark.parametrize("hard", [False, True])
def test_shapes_alone_decide_what_is_computed(hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on an accelerator: loops of a processor ask for numbers.
    for module in (encoders, fused_blocks, scale_mixing, tcpl):
        monkeypatch.setattr(module, "can_fuse", lambda _: False)
    batch = random_batch(SETTINGS, [2, 1, 3])
    draws = random_draws(batch)
    # Dropout on the host seeds a generator of its own, which asks for a number.
    model = tiny_model(SETTINGS).eval()
    # Such tensors have shapes and no content: whatever asks for a number raises.
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        tensors = {name: mode.from_tensor(value) for name, value in batch.tensors().items()}
        fake = replace(batch, **tensors)
        for branch in (draws.clip, draws.frame):
            for field in fields(branch):
                object.__setattr__(
                    branch, field.name, mode.from_tensor(getattr(branch, field.name))
                )
        terms = compute_losses(model, fake, SETTINGS.losses, draws, hard)
        terms.total.backward()
    assert terms.stacked().shape == (7,)


OFF = {
    "tcpl_distance": "losses__tcpl_distance_weight",
    "tcpl_angle": "losses__tcpl_angle_weight",
    "cbva": "losses__cbva_weight",
    "clip_infonce": "losses__infonce_clip_weight",
    "frame_infonce": "losses__infonce_frame_weight",
}


@pytest.mark.parametrize("term", OFF)
def test_a_weight_of_zero_removes_its_term_alone(term: str) -> None:
    every, _ = losses_of([2, 1, 3])
    without, _ = losses_of([2, 1, 3], **{OFF[term]: 0.0})
    for name in loss_term_names():
        wanted = torch.zeros(()) if name == term else getattr(every, name)
        torch.testing.assert_close(getattr(without, name), wanted, msg=name)


def test_weights_are_factors_and_the_total_is_the_sum() -> None:
    once, _ = losses_of([2, 1, 3])
    doubled = {name: 2 * getattr(SETTINGS.losses, name.split("__")[1]) for name in OFF.values()}
    twice, _ = losses_of([2, 1, 3], losses__triplet_weight=2.0, **doubled)
    torch.testing.assert_close(twice.stacked(), 2 * once.stacked())
    torch.testing.assert_close(once.total, sum(getattr(once, name) for name in loss_term_names()))


def test_without_the_alignment_its_projection_has_no_gradient() -> None:
    _, gradients = losses_of([2, 1, 3], losses__cross_branch="off")
    assert not {"alignment.weight", "alignment.bias"} & set(gradients)
    _, gradients = losses_of([2, 1, 3])
    assert {"alignment.weight", "alignment.bias"} <= set(gradients)


def test_infonce_reads_raw_products_and_triplets_read_cosines() -> None:
    queries, rows = torch.randn(4, 6), torch.randn(3, 5, 6)
    scores = score_both(queries, rows)
    for i in range(4):
        for j in range(3):
            products = torch.stack([queries[i] @ row for row in rows[j]])
            cosines = products / rows[j].norm(dim=1) / queries[i].norm()
            torch.testing.assert_close(scores.product[i, j], products.max())
            torch.testing.assert_close(scores.cosine[i, j], cosines.max())
    # The best row by cosine need not be the best by product.
    assert infonce(scores.product, torch.tensor([0, 1, 2, 0])).isfinite()


def test_zero_rows_score_zero_without_nan() -> None:
    queries = torch.zeros(2, 6, requires_grad=True)
    rows = torch.zeros(3, 5, 6, requires_grad=True)
    scores = score_both(queries, rows)
    (scores.cosine.sum() + scores.product.sum()).backward()
    assert (scores.cosine == 0).all()
    assert queries.grad is not None
    assert queries.grad.isfinite().all()


@pytest.mark.soak
def test_where_memory_lies_does_not_change_the_last_bit() -> None:
    """Loops run in vectors or not, as their arrays lie; trials that go on need every bit.

    Where a loop added up while it wrote elsewhere, ten of 1,200 such passes differed.
    """
    settings = tiny_settings()
    model, batch = tiny_model(settings).train(), random_batch(settings, [2, 1, 3, 2, 4])
    draws, random = random_draws(batch), Random(1)
    others: list[object] = []
    wanted: list[Tensor] = []
    for _ in range(600):
        others += [torch.randn(random.randint(1, 5000)) for _ in range(random.randint(0, 5))]
        others += [np.empty(random.randint(1, 5000)) for _ in range(random.randint(0, 5))]
        random.shuffle(others)
        del others[50:]
        torch.manual_seed(7)
        model.zero_grad()
        compute_losses(model, batch, settings.losses, draws, False).total.backward()
        found = [weight.grad for weight in model.parameters() if weight.grad is not None]
        wanted = wanted or [gradient.clone() for gradient in found]
        assert all(map(torch.equal, found, wanted))
