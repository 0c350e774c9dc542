"""What a version with a gallery in the model registry runs: sentences in, videos with seconds out.

A script for MLflow's "models from code", as `tracking/served_model.py`: MLflow copies it into the
version and runs it to load the version, so nothing is pickled. The machine that loads it needs
`prvr-sweep`, and for sentences the encoder that the gallery names.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from orchestrator.serving.answers import Answers
from orchestrator.serving.gallery import DEFAULT_TOP, Gallery

GALLERY = "gallery"
"""Name of the artefact that is the gallery's folder."""

ENCODER_VARIABLE = "PRVR_ENCODER"
"""Names the folder of the encoder's weights where they are not in the Hugging Face cache."""


class GalleryModel(PythonModel):  # type: ignore[misc]  # MLflow is not typed.
    """Answers of the gallery that was attached.

    Input: a table with a column `query` of sentences, or `tokens` of token features, (length,
    text_dim) each; `params={"top": N}` videos for each row, 10 by default.
    Output: a table with the columns question (number of the row, from 0), rank, video, score,
    start_s and end_s (null where times are not known).
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Open the gallery."""
        encoder = os.environ.get(ENCODER_VARIABLE)
        self._gallery = Gallery.open(Path(context.artifacts[GALLERY]), encoder=encoder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Videos for each row, best first."""
        top = int((params or {}).get("top", DEFAULT_TOP))
        rows = model_input.to_dict("records")
        tables = [self._answered(row, number, top) for number, row in enumerate(rows)]
        return pa.concat_tables(tables).to_pandas()

    def _answered(self, row: dict[str, Any], number: int, top: int) -> pa.Table:
        answers = self._asked(row, top)
        table = answers.to_arrow().drop_columns("moments")
        return table.add_column(0, "question", pa.array([number] * len(answers), pa.int64()))

    def _asked(self, row: dict[str, Any], top: int) -> Answers:
        if isinstance(sentence := row.get("query"), str):
            return self._gallery.query(sentence, top=top)
        tokens = np.array([np.asarray(values) for values in row["tokens"]], np.float32)
        return self._gallery.query_tokens([tokens], top=top)[0]


set_model(GalleryModel())
