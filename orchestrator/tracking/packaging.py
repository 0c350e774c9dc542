"""Puts an exported model into MLflow's folder format. Imports MLflow."""

import json
import warnings
from pathlib import Path

import mlflow.pyfunc
import numpy as np
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from orchestrator.base.installation import package_versions
from orchestrator.base.our_code import SERVED_MODEL

_EXPORT = "model"
# What predicting needs; the exact versions are those that the model was trained with.
_REQUIRED = ("prvr-sweep", "torch", "numpy", "safetensors", "pydantic", "mlflow")


def save_model(export: Path, target: Path, logged: LoggedModel, run_id: str) -> None:
    """Write the folder that a version of the registry holds.

    Args:
        export: Folder that `checkpoint.export_model` wrote.
        target: Folder to make.
        logged: MLflow's entry for the model.
        run_id: Run of the trial.
    """
    entry = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )
    with warnings.catch_warnings():
        # MLflow asks for an example to guess the signature from; ours is given.
        warnings.filterwarnings("ignore", ".*input example was not provided.*", UserWarning)
        mlflow.pyfunc.save_model(
            path=str(target),
            python_model=str(SERVED_MODEL),
            artifacts={_EXPORT: str(export)},
            signature=_signature(export),
            pip_requirements=_requirements(),
            mlflow_model=entry,
        )


def _signature(export: Path) -> ModelSignature:
    config = json.loads((export / "config.json").read_text(encoding="utf-8"))
    tokens = TensorSpec(np.dtype(np.float32), (-1, -1, config["text_dim"]))
    hidden = config["settings"]["model"]["hidden_size"]
    queries = TensorSpec(np.dtype(np.float32), (-1, hidden))
    return ModelSignature(Schema([tokens]), Schema([queries]))


def _requirements() -> list[str]:
    versions = package_versions()
    return [f"{name}=={versions[name]}" if name in versions else name for name in _REQUIRED]
