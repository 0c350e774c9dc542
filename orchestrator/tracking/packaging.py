"""Puts an exported model into MLflow's folder format. Imports MLflow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array

from orchestrator.base.installation import package_versions
from orchestrator.base.our_code import GALLERY_MODEL, SERVED_MODEL

_EXPORT = "model"
_GALLERY = "gallery"
_DEFAULT_TOP = 10
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
    config = json.loads((export / "config.json").read_text(encoding="utf-8"))
    # Made up: token features come from the encoder that made the data's.
    example = np.ones((1, 2, config["text_dim"]), np.float32)
    described = (_signature(config), example)
    _save(SERVED_MODEL, {_EXPORT: str(export)}, described, target, _entry(logged, run_id))


def save_gallery_model(gallery: Path, target: Path, logged: LoggedModel, run_id: str) -> None:
    """Write the folder of a version to which a gallery is attached, with a copy of the gallery.

    Args:
        gallery: Folder of the gallery, which has the model in it.
        target: Folder to make.
        logged: MLflow's entry for the model.
        run_id: Run of the trial.
    """
    artifacts = {_GALLERY: str(gallery)}
    described = (_gallery_signature(), pd.DataFrame({"query": ["somebody opens a door"]}))
    _save(GALLERY_MODEL, artifacts, described, target, _entry(logged, run_id))


def _entry(logged: LoggedModel, run_id: str) -> Model:
    return Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )


def _save(
    code: Path,
    artifacts: dict[str, str],
    described: tuple[ModelSignature, np.ndarray | pd.DataFrame],
    target: Path,
    entry: Model,
) -> None:
    """Write the folder; a model is described by its signature and an example of its input."""
    mlflow.pyfunc.save_model(
        path=str(target),
        python_model=str(code),
        artifacts=artifacts,
        signature=described[0],
        input_example=described[1],
        pip_requirements=_requirements(),
        mlflow_model=entry,
    )


def _gallery_signature() -> ModelSignature:
    text, whole, number = DataType.string, DataType.long, DataType.double
    asked = [
        ColSpec(text, "query", required=False),
        ColSpec(Array(Array(number)), "tokens", required=False),
    ]
    found = [
        ColSpec(whole, "question"),
        ColSpec(whole, "rank"),
        ColSpec(text, "video"),
        ColSpec(number, "score"),
        ColSpec(number, "start_s", required=False),
        ColSpec(number, "end_s", required=False),
    ]
    top = ParamSchema([ParamSpec("top", whole, _DEFAULT_TOP)])
    return ModelSignature(Schema(asked), Schema(found), top)


def _signature(config: Mapping[str, Any]) -> ModelSignature:
    tokens = TensorSpec(np.dtype(np.float32), (-1, -1, config["text_dim"]))
    hidden = config["settings"]["model"]["hidden_size"]
    queries = TensorSpec(np.dtype(np.float32), (-1, hidden))
    return ModelSignature(Schema([tokens]), Schema([queries]))


def _requirements() -> list[str]:
    versions = package_versions()
    return [f"{name}=={versions[name]}" if name in versions else name for name in _REQUIRED]
