"""Model weights in safetensors: the best epoch of a trial, and exported folders."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from prvr_model.errors import CheckpointError, SettingsError
from prvr_model.files.checkpoint_header import BEST, HEADER, WEIGHT
from prvr_model.files.folder import Folder
from prvr_model.network.model import MscModel
from prvr_model.settings import Settings, parse_settings
from prvr_model.store.recipe import TrainedOn

# Raised when a file of an older version can no longer be read.
MODEL_FILE_VERSION = 1
# Names of weights that captions need; the token only tells the model's device.
_CAPTION_SIDE = ("caption_encoder.", "mixing_token")


@dataclass(frozen=True)
class ModelFile:
    """A model read from a file: settings, dimensions of the features and weights.

    `trained_on` is None where the file does not say which features it was trained on.
    """

    settings: Settings
    video_dim: int
    text_dim: int
    epoch: int
    weights: dict[str, Tensor]
    trained_on: TrainedOn | None = None

    def build(self, device: torch.device) -> MscModel:
        """The model with its weights, in evaluation mode."""
        model = MscModel(self.settings.model, self.video_dim, self.text_dim)
        model.load_state_dict(self.weights)
        return model.to(device).eval()


def load_best(folder: Folder) -> ModelFile:
    """The model of the best epoch.

    Raises:
        CheckpointError: There is none, or the file is damaged.
    """
    if not folder.exists(BEST):
        raise CheckpointError(f"{folder.uri}: has no {BEST}; no epoch of this trial ended")
    tensors, header = read_tensors(folder, BEST)
    return _model_file(tensors, header, folder.locate(BEST))


def export_model(folder: Folder, target: Path) -> None:
    """Write the best epoch's model as `model.safetensors` and `config.json` into a local folder."""
    tensors, header = read_tensors(folder, BEST)
    target.mkdir(parents=True, exist_ok=True)
    weights = without_prefix(WEIGHT, tensors)
    (target / "model.safetensors").write_bytes(save(weights))
    config = json.dumps(header, indent=2, sort_keys=True)
    (target / "config.json").write_text(config + "\n", encoding="utf-8")


def load_exported(source: Path) -> ModelFile:
    """The model of a folder that `export_model` wrote.

    Raises:
        CheckpointError: Files are missing or damaged.
    """
    header = _header(source)
    file = source / "model.safetensors"
    try:
        weights = load(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _not_exported(source, file, error) from error
    return _model_file(with_prefix(WEIGHT, weights), header, str(source))


def load_caption_side(source: Path, device: torch.device) -> MscModel:
    """A model of which only captions can be encoded, in evaluation mode.

    The video branches, nine tenths of the weights, take neither memory nor time.

    Raises:
        CheckpointError: Files are missing or damaged.
    """
    header = _header(source)
    file = source / "model.safetensors"
    try:
        with safe_open(file, framework="pt", device=str(device)) as stored:
            names = [name for name in stored.keys() if name.startswith(_CAPTION_SIDE)]  # noqa: SIM118
            weights = {name: stored.get_tensor(name) for name in names}
        described = _model_file(with_prefix(WEIGHT, weights), header, str(source))
        with torch.device("meta"):
            model = MscModel(described.settings.model, described.video_dim, described.text_dim)
        model.load_state_dict(weights, strict=False, assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _not_exported(source, file, error) from error
    return model.eval()


def exported_settings(source: Path) -> Settings:
    """Settings of the model in a folder that `export_model` wrote; reads no weights.

    Raises:
        CheckpointError: They are missing or damaged.
    """
    return _model_file({}, _header(source), str(source)).settings


def _header(source: Path) -> dict[str, Any]:
    """What an exported model's `config.json` says."""
    file = source / "config.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _not_exported(source, file, error) from error


def _not_exported(source: Path, file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{source}: is not an exported model: {file.name} cannot be read: {error}"
    )


def model_header(
    model: MscModel, settings: Settings, trained_on: TrainedOn | None = None
) -> dict[str, Any]:
    """Header of a file of weights: its version, the model's dimensions, settings and features."""
    return {
        "format_version": MODEL_FILE_VERSION,
        "settings": settings.model_dump(mode="json"),
        "video_dim": model.video_dim,
        "text_dim": model.text_dim,
        "trained_on": trained_on.model_dump(mode="json") if trained_on else None,
    }


def _model_file(tensors: dict[str, Tensor], header: dict[str, Any], location: str) -> ModelFile:
    # Earlier versions did not write it.
    trained_on = header.get("trained_on")
    try:
        return ModelFile(
            settings=parse_settings(header["settings"]),
            video_dim=header["video_dim"],
            text_dim=header["text_dim"],
            epoch=header["epoch"],
            weights=without_prefix(WEIGHT, tensors),
            trained_on=TrainedOn.model_validate(trained_on) if trained_on else None,
        )
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise CheckpointError(f"{location}: does not say what model it holds: {error!r}") from error


def write_tensors(
    folder: Folder, name: str, tensors: dict[str, Tensor], header: dict[str, Any]
) -> None:
    """Write tensors and a header as one safetensors file."""
    contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    folder.write_bytes(name, save(contiguous, metadata={HEADER: json.dumps(header)}))


def read_tensors(folder: Folder, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file.

    Raises:
        CheckpointError: It is damaged.
    """
    content = folder.read_bytes(name)
    try:
        # The file starts with the length of its JSON header, 8 bytes little-endian.
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        header = dict(json.loads(metadata[HEADER]))
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.uri}/{name}: is damaged: {error}") from error
    if header.get("format_version") != MODEL_FILE_VERSION:
        raise CheckpointError(
            f"{folder.uri}/{name}: has format version {header.get('format_version')}, this "
            f"program reads {MODEL_FILE_VERSION}"
        )
    return tensors, header


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names that begin with the prefix."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, under the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
