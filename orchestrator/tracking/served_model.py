"""What a version in the model registry runs: token features of captions in, query vectors out.

A script for MLflow's "models from code": MLflow copies this file into the version and runs it
to load the version, so nothing is pickled; the weights beside it are safetensors. The machine that
loads it needs `prvr-sweep`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from prvr_model.retrieval.caption_embedder import CaptionEmbedder

EXPORT = "model"
"""Name of the artefact that `checkpoint.export_model` wrote."""


class CaptionQueryModel(PythonModel):  # type: ignore[misc]  # MLflow is not typed.
    """Query vectors of captions.

    Input: float32 `(captions, length, text_dim)`, token features as the foundation model gives
    them, the last valid token its sentence vector; shorter captions end in rows of zeros. A
    tensor rather than a table, since a caption is a matrix and MLflow checks a nested list number
    by number.
    Output: float32 `(captions, hidden)`, rows of norm 1.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights."""
        self._embedder = CaptionEmbedder.load(Path(context.artifacts[EXPORT]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Query vectors of a batch of captions."""
        return self._embedder.embed(np.asarray(model_input))


set_model(CaptionQueryModel())
