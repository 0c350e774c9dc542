"""The model's encoders as the speed settings run them: precision, compilation, micro-batches.

Training and evaluation encode with these. Outputs have the type of the model's weights, so losses,
scores and metrics do not depend on the precision setting.

A micro-batch is a part of a batch that is encoded a second time in the backward pass. What an
encoder saves for its backward pass is nearly all of a training step's memory; of a micro-batch only
the output is saved. Losses are those of the whole batch, with all its negatives. Gradients differ
by rounding alone; dropout draws depend on the parts' shapes.
"""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prvr_model.errors import SettingsError
from prvr_model.inputs.batching import Batch
from prvr_model.inputs.processor import use_fast_products
from prvr_model.network.model import EncodedVideos, MscModel
from prvr_model.settings import SpeedSettings

Encoded = TypeVar("Encoded")


class Encoders:
    """Encoders of a model.

    The model's own methods are compiled, not its modules: names of weights and checkpoints are
    the same with and without.

    Args:
        model: The model; its mode decides on dropout.
        speed: Precision, compilation and micro-batches; default: float32, not compiled, none.

    Raises:
        SettingsError: `speed.compile` is true, but nothing can be compiled for the device.
    """

    def __init__(self, model: MscModel, speed: SpeedSettings | None = None) -> None:
        speed = speed or SpeedSettings()
        self.model = model
        self.device = model.mixing_token.device
        if self.device.type == "cpu":
            use_fast_products()
        self._dtype = model.mixing_token.dtype
        self._precision = speed.precision
        self._micro_batch_videos = speed.micro_batch_videos
        self._videos, self._captions = model.encode_videos, model.encode_captions
        if speed.compile:
            _check_compiler(self.device)
            self._videos = torch.compile(self._videos)
            # The number of captions and the longest one differ from batch to batch.
            self._captions = torch.compile(self._captions, dynamic=True)

    def batch(self, batch: Batch) -> tuple[EncodedVideos, Float[Tensor, "captions hidden"]]:
        """Videos and captions of a training batch, in micro-batches where speed says so."""
        parts = num_parts(len(batch.frames), self._micro_batch_videos)
        videos = encode_in_parts(self.videos, parts, batch.frames, batch.clips, batch.clip_sizes)
        queries = encode_in_parts(self.captions, parts, batch.tokens, batch.tokens_valid)
        encoded = EncodedVideos(
            torch.cat([video.clips for video in videos]),
            torch.cat([video.frames for video in videos]),
        )
        return encoded, torch.cat(queries)

    def videos(
        self,
        frames: Float[Tensor, "videos frames features"],
        clips: Float[Tensor, "videos clips features"],
        clip_sizes: Float[Tensor, "videos clips"],
    ) -> EncodedVideos:
        """Encode as `MscModel.encode_videos` does."""
        with self._rounding():
            encoded = self._videos(frames, clips, clip_sizes)
        return EncodedVideos(encoded.clips.to(self._dtype), encoded.frames.to(self._dtype))

    def captions(
        self,
        tokens: Float[Tensor, "captions length features"],
        tokens_valid: Bool[Tensor, "captions length"],
    ) -> Float[Tensor, "captions hidden"]:
        """Encode as `MscModel.encode_captions` does."""
        with self._rounding():
            queries = self._captions(tokens, tokens_valid)
        return queries.to(self._dtype)

    def _rounding(self) -> AbstractContextManager[object]:
        if self._precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _check_compiler(device: torch.device) -> None:
    """Refuse `compile` on a CPU without a C++ compiler; torch's error is pages of traceback."""
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(name) is None:
        message = (
            f"found true; on a CPU it needs a C++ compiler, and {name} is missing; install one, "
            "name another in the environment variable CXX, or leave compile out"
        )
        raise SettingsError([("speed.compile", message)])


def num_parts(rows: int, most: int | None) -> int:
    """Number of parts of at most `most` rows; one without a limit."""
    return max(1, -(-rows // most)) if most else 1


def encode_in_parts(
    encode: Callable[..., Encoded], parts: int, *inputs: Shaped[Tensor, "rows ..."]
) -> list[Encoded]:
    """Outputs of nearly equal parts of the inputs' rows, in order.

    Args:
        encode: Called with each part, and again in the backward pass with the same random draws.
        parts: Number of parts; with 1 `encode` is called once, and not in the backward pass.
        inputs: Tensors with equally many rows.
    """
    parts = max(1, min(parts, len(inputs[0])))
    if parts == 1:
        return [encode(*inputs)]
    pieces = zip(*(tensor.tensor_split(parts) for tensor in inputs), strict=True)
    return [checkpoint(encode, *piece, use_reentrant=False) for piece in pieces]
