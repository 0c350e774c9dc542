"""Encoders under every speed setting: exact by default, close in bfloat16, the same compiled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prvr_model.errors import SettingsError
from prvr_model.files.folder import Folder
from prvr_model.losses.objective import LossTerms, compute_losses, loss_term_names
from prvr_model.network import encoders, encoding, fused_blocks, scale_mixing
from prvr_model.network.encoding import Encoders
from prvr_model.network.model_file import load_best
from prvr_model.reporting import Decision
from prvr_model.retrieval.evaluation import evaluate_saved
from prvr_model.settings import SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.training.train_loop import train
from tests import compiled_parity
from tests.prvr_model.tiny import random_batch, random_draws, tiny_model, tiny_settings
from tests.warm_process import run_warm

SETTINGS = tiny_settings(
    model__hidden_size=64, model__dropout=0.0, model__input_dropout=0.0, training__epochs=2
)
BFLOAT16 = SpeedSettings(precision="bfloat16")


def losses_of(
    speed: SpeedSettings, dtype: torch.dtype = torch.float32
) -> tuple[LossTerms, dict[str, Tensor]]:
    """Loss terms and gradients of a fixed model and batch."""
    torch.manual_seed(3)
    model = tiny_model(SETTINGS, dtype)
    batch = random_batch(SETTINGS, [2, 3, 1, 4], dtype=dtype)
    encoders = Encoders(model, speed)
    terms = compute_losses(model, batch, SETTINGS.losses, random_draws(batch), False, encoders)
    terms.total.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return terms, gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_by_default_the_model_encodes_to_the_last_bit(dtype: torch.dtype) -> None:
    model, batch = tiny_model(SETTINGS, dtype), random_batch(SETTINGS, [2, 1], dtype=dtype)
    encoders = Encoders(model)
    videos = encoders.videos(batch.frames, batch.clips, batch.clip_sizes)
    wanted = model.encode_videos(batch.frames, batch.clips, batch.clip_sizes)
    assert torch.equal(videos.clips, wanted.clips)
    assert torch.equal(videos.frames, wanted.frames)
    queries = encoders.captions(batch.tokens, batch.tokens_valid)
    assert torch.equal(queries, model.encode_captions(batch.tokens, batch.tokens_valid))
    assert queries.dtype == dtype


def test_bfloat16_rounds_the_encoders_alone() -> None:
    single, single_gradients = losses_of(SpeedSettings())
    half, half_gradients = losses_of(BFLOAT16)
    assert half.stacked().dtype == torch.float32
    assert {gradient.dtype for gradient in half_gradients.values()} == {torch.float32}
    assert set(half_gradients) == set(single_gradients)
    for name in loss_term_names():
        one, other = (getattr(terms, name).item() for terms in (single, half))
        assert other != one, name
        # Eight bits are 0.4 % at each rounding.
        assert other == pytest.approx(one, rel=1e-2), name


def test_bfloat16_gives_the_same_encodings_and_gradients_to_two_digits() -> None:
    exact, rounded = encodings(SpeedSettings()), encodings(BFLOAT16)
    for name, tolerance in (("clips", 0.01), ("frames", 0.01), ("queries", 0.01), ("slope", 0.05)):
        error = (rounded[name] - exact[name]).norm() / exact[name].norm()
        assert 1e-4 < error < tolerance, name


def encodings(speed: SpeedSettings) -> dict[str, Tensor]:
    """Encodings, and the gradient of a linear function of them, which no maximum makes jump."""
    torch.manual_seed(3)
    model, weights = tiny_model(SETTINGS), torch.randn(64)
    batch = random_batch(SETTINGS, [2, 3, 1, 4])
    encoders = Encoders(model, speed)
    videos = encoders.videos(batch.frames, batch.clips, batch.clip_sizes)
    queries = encoders.captions(batch.tokens, batch.tokens_valid)
    found = {"clips": videos.clips, "frames": videos.frames, "queries": queries}
    torch.stack([(output @ weights).sum() for output in found.values()]).sum().backward()
    slopes = [
        parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None
    ]
    return {**{name: value.detach() for name, value in found.items()}, "slope": torch.cat(slopes)}


class _AutocastOfCuda(TorchFunctionMode):
    """CUDA's autocast, unlike the CPU's, runs these operations in float32."""

    _EXACT = (Tensor.softmax, torch.softmax, F.softmax, F.layer_norm, torch.layer_norm, Tensor.sum)

    def __torch_function__(  # type: ignore[override]
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if func in self._EXACT and torch.is_autocast_enabled("cpu"):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_bfloat16_has_gradients_under_the_autocast_of_cuda(
    dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (encoders, fused_blocks, scale_mixing):
        monkeypatch.setattr(module, "can_fuse", lambda _: False)
    model = tiny_model(tiny_settings(model__dropout=dropout))
    batch = random_batch(SETTINGS, [2, 3])
    with _AutocastOfCuda():
        encoding = Encoders(model, BFLOAT16)
        videos = encoding.videos(batch.frames, batch.clips, batch.clip_sizes)
        queries = encoding.captions(batch.tokens, batch.tokens_valid)
    (videos.clips.sum() + videos.frames.sum() + queries.sum()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(part.isfinite().all() for part in gradients)


def test_losses_see_what_the_encoders_give_in_float32() -> None:
    model, batch = tiny_model(SETTINGS), random_batch(SETTINGS, [2, 1])
    encoders = Encoders(model, BFLOAT16)
    videos = encoders.videos(batch.frames, batch.clips, batch.clip_sizes)
    queries = encoders.captions(batch.tokens, batch.tokens_valid)
    assert {videos.clips.dtype, videos.frames.dtype, queries.dtype} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")
    products = queries @ videos.frames.flatten(0, 1).T
    exact = queries.double() @ videos.frames.flatten(0, 1).double().T
    assert (products - exact).abs().max() < 1e-5 * exact.abs().max()


def test_evaluation_encodes_as_training_does(
    tiny_store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.open(tmp_path / "trial")
    result = train(SETTINGS, tiny_store, folder, lambda _: Decision.CONTINUE, BFLOAT16)
    best = result.reports[result.best_epoch - 1].metrics
    found = evaluate_saved(load_best(folder), tiny_store, "val", BFLOAT16).metrics
    assert found == {name: best[f"val/{name}"] for name in found}
    single = evaluate_saved(load_best(folder), tiny_store, "val", SpeedSettings()).metrics
    assert single["collapse/clip_total"] != found["collapse/clip_total"]
    assert single["collapse/clip_total"] == pytest.approx(found["collapse/clip_total"], rel=1e-2)
    # Once is too few to compile for, and the driver may have no compiler.
    monkeypatch.setenv("PATH", "")
    speed = BFLOAT16.model_copy(update={"compile": True})
    assert evaluate_saved(load_best(folder), tiny_store, "val", speed).metrics == found
    # What no encoder touches is the same.
    assert single["collapse/teacher_clip_total"] == found["collapse/teacher_clip_total"]


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(encoding.sys, "platform", "linux")
    with pytest.raises(SettingsError) as caught:
        Encoders(tiny_model(SETTINGS), SpeedSettings(compile=True))
    assert str(caught.value) == (
        "speed.compile: found true; on a CPU it needs a C++ compiler, and g++ is missing; "
        "install one, name another in the environment variable CXX, or leave compile out"
    )
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SettingsError, match="no-such-compiler is missing"):
        Encoders(tiny_model(SETTINGS), SpeedSettings(compile=True))


@pytest.mark.soak
def test_compiling_renames_no_weight() -> None:
    model = tiny_model(SETTINGS)
    before = {name: value.data_ptr() for name, value in model.state_dict().items()}
    Encoders(model, SpeedSettings(compile=True))
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == before


@pytest.mark.soak
def test_captured_encoders_compute_the_same() -> None:
    done = run_warm(compiled_parity.main, ["--quick"], 600)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert {"losses", "gradients"} <= set(errors)
    # The same sums in another order.
    assert max(errors.values()) < 1e-5
    assert "recompile_limit" not in done.stderr
