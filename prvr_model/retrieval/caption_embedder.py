"""Query vectors of captions by an exported model, from token features."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Float

from prvr_model.errors import StoreError
from prvr_model.inputs.resampling import normalise_rows
from prvr_model.inputs.torch_threads import one_thread
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import load_caption_side
from prvr_model.network.similarity import unit_rows

# Captions encoded at once; bounds memory, changes no number that matters.
_BLOCK = 1024
# Sentences that one thread encodes sooner than two that wait for each other.
_FEW = 64


@dataclass(frozen=True)
class CaptionEmbedder:
    """The caption side of a model.

    Args:
        model: The model, in evaluation mode.
    """

    model: MscModel

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Read a folder that `checkpoint.export_model` wrote.

        Raises:
            CheckpointError: Files are missing or damaged.
        """
        return cls(load_caption_side(folder, torch.device(device)))

    def embed(
        self, tokens: Float[np.ndarray, "captions length text_dim"]
    ) -> Float[np.ndarray, "captions hidden"]:
        """Query vectors of norm 1; their dot products with a gallery's rows are the cosines.

        Args:
            tokens: Token features as the foundation model gives them, not normalised; shorter
                captions are filled up with rows of zeros at the end.

        Raises:
            StoreError: The dimension is not the model's, or a caption has no token.
        """
        text_dim = self.model.text_dim
        if tokens.ndim != 3 or tokens.shape[2] != text_dim:
            raise StoreError(
                f"tokens have shape {tokens.shape}; wanted (captions, length, {text_dim})"
            )
        valid = np.any(tokens != 0, axis=2)
        if not valid.any(axis=1).all():
            empty = np.flatnonzero(~valid.any(axis=1))[:20].tolist()
            raise StoreError(f"captions without any token (rows of zeros only): {empty}")
        blocks = [
            self._embed_block(tokens[start : start + _BLOCK], valid[start : start + _BLOCK])
            for start in range(0, len(tokens), _BLOCK)
        ]
        empty_result = np.empty((0, self.model.settings.hidden_size), np.float32)
        return np.concatenate(blocks) if blocks else empty_result

    def embed_each(
        self, captions: Sequence[Float[np.ndarray, "_ text_dim"]]
    ) -> Float[np.ndarray, "captions hidden"]:
        """Query vectors of captions of any lengths, in blocks as evaluation makes them.

        Args:
            captions: Token features of each, not normalised, at least one row; every row counts.

        Raises:
            StoreError: As for `embed`.
        """
        text_dim, limit = self.model.text_dim, self.model.settings.max_caption_tokens
        for number, rows in enumerate(captions):
            if rows.ndim != 2 or rows.shape[1] != text_dim or not len(rows):
                raise StoreError(
                    f"tokens of sentence {number + 1} have shape {rows.shape}; wanted (one or "
                    f"more, {text_dim})"
                )
        blocks = [np.empty((0, self.model.settings.hidden_size), np.float32)]
        for start in range(0, len(captions), _BLOCK):
            part = [rows[:limit] for rows in captions[start : start + _BLOCK]]
            lengths = np.array([len(rows) for rows in part])
            valid = np.arange(lengths.max()) < lengths[:, None]
            tokens = np.zeros((*valid.shape, text_dim), np.float32)
            tokens[valid] = np.concatenate(part)
            # What a service encodes at a time is less work than waiting for another thread.
            with one_thread() if len(part) <= _FEW else nullcontext():
                blocks.append(self._embed_block(tokens, valid))
        return np.concatenate(blocks)

    @torch.no_grad()
    def _embed_block(self, tokens: np.ndarray, valid: np.ndarray) -> np.ndarray:
        length = self.model.settings.max_caption_tokens
        device = self.model.mixing_token.device
        rows = normalise_rows(tokens[:, :length].astype(np.float32))
        features = torch.from_numpy(rows).to(device)
        queries = self.model.encode_captions(
            features, torch.from_numpy(valid[:, :length]).to(device)
        )
        return unit_rows(queries).cpu().numpy()
