"""Checkpoints: tensors in safetensors files with a JSON header, never pickles.

A trial's folder holds `last.safetensors` (all that training needs to continue), and
`best.safetensors` (the weights of the best validation epoch). Each is written whole or not at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from safetensors.torch import save
from torch import Tensor

from prvr_model.errors import CheckpointError
from prvr_model.files.checkpoint_header import BEST, EPOCHS_FILE, LAST, WEIGHT
from prvr_model.files.folder import Folder
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import (
    MODEL_FILE_VERSION,
    model_header,
    read_tensors,
    with_prefix,
    without_prefix,
    write_tensors,
)
from prvr_model.reporting import EpochReport
from prvr_model.settings import ADDED_SETTINGS, Settings, flat_settings
from prvr_model.store.recipe import TrainedOn
from prvr_model.training.optimizer import BertAdam

_MOMENT, _RANDOM = "optimizer.", "random."
_PART_RANDOM = "part.random."
_PART_NUMBERS = ("rows", "spent_s", "exchanged_bytes")
_RANKS = "ranks"


@dataclass(frozen=True)
class PartOfEpoch:
    """How far training is in an epoch that it left before its end.

    Args:
        rows: Numbers of its steps so far, a row each.
        spent_s: Seconds that they took.
        exchanged_bytes: Bytes that the first worker received from others in them.
        random: State of each worker's random generator of the CPU, and of its device if that has
            one of its own; from the file's tensors.
    """

    rows: Sequence[list[float]]
    spent_s: float
    exchanged_bytes: int
    random: Mapping[str, Shaped[Tensor, "workers bytes"]]

    @property
    def steps(self) -> int:
        """Steps completed."""
        return len(self.rows)


@dataclass(frozen=True)
class TrainingState:
    """Where training stands, between two epochs or within one.

    Args:
        epoch: Epochs completed.
        best_epoch: Epoch of the best `evaluation.best_epoch_by`, from 1; 0 before the first.
        best_value: Its value there.
        reports: Every epoch's row, in order.
        part: What is done of the next epoch; None if it has not begun.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -float("inf")
    reports: tuple[EpochReport, ...] = ()
    part: PartOfEpoch | None = None


def save_best(
    folder: Folder,
    model: MscModel,
    settings: Settings,
    epoch: int,
    trained_on: TrainedOn | None = None,
) -> None:
    """Write the weights of the best epoch so far."""
    header = {**model_header(model, settings, trained_on), "epoch": epoch}
    write_tensors(folder, BEST, with_prefix(WEIGHT, model.state_dict()), header)


def save_last(
    folder: Folder,
    model: MscModel,
    optimizer: BertAdam,
    settings: Settings,
    state: TrainingState,
    store_fingerprint: str,
) -> None:
    """Write all that training needs to continue from `state`."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    moments = {
        f"{moment}.{names[id(parameter)]}": tensor
        for parameter, moments in optimizer.state.items()
        for moment, tensor in moments.items()
    }
    tensors = {
        **with_prefix(WEIGHT, model.state_dict()),
        **with_prefix(_MOMENT, moments),
        f"{_RANDOM}cpu": torch.get_rng_state(),
        **with_prefix(_PART_RANDOM, dict(state.part.random) if state.part else {}),
    }
    header = {
        **model_header(model, settings),
        "store_fingerprint": store_fingerprint,
        "steps_done": optimizer.steps_done,
        "state": _state_json(state),
    }
    write_tensors(folder, LAST, tensors, header)


def load_last(
    folder: Folder,
    model: MscModel,
    optimizer: BertAdam,
    settings: Settings,
    store_fingerprint: str,
) -> TrainingState:
    """Restore model and optimizer from the folder; the initial state if it has no checkpoint.

    Raises:
        CheckpointError: The file is damaged, or was written for other settings or data.
    """
    if not folder.exists(LAST):
        return TrainingState()
    tensors, header = read_tensors(folder, LAST)
    _check_same(folder, header, settings, store_fingerprint)
    model.load_state_dict(without_prefix(WEIGHT, tensors))
    parameters = dict(model.named_parameters())
    for name, tensor in without_prefix(_MOMENT, tensors).items():
        moment, _, parameter = name.partition(".")
        place = parameters[parameter]
        optimizer.state[place][moment] = tensor.to(place.device)
    optimizer.steps_done = header["steps_done"]
    torch.set_rng_state(tensors[f"{_RANDOM}cpu"])
    return _parse_state(header["state"], without_prefix(_PART_RANDOM, tensors))


def remove_partial_files(folder: Folder) -> None:
    """Remove half-written files of a trial's killed process; no other process may write now."""
    folder.remove_partial_files()
    folder.child(_RANKS).remove_partial_files()


def read_state(folder: Folder) -> TrainingState:
    """Where training stood when the last checkpoint was written; the initial state without one.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not folder.exists(LAST):
        return _read_epochs(folder) if folder.exists(EPOCHS_FILE) else TrainingState()
    tensors, header = read_tensors(folder, LAST)
    return _parse_state(header["state"], without_prefix(_PART_RANDOM, tensors))


def free_last(folder: Folder) -> None:
    """Delete the last checkpoint, keeping the rows of metrics in it, which `read_state` reads.

    Training cannot continue from them: it would begin anew.

    Raises:
        CheckpointError: The file is damaged; it stays.
        StorageError: The folder cannot be written.
    """
    _, header = read_tensors(folder, LAST)
    kept = {"format_version": MODEL_FILE_VERSION, "state": {**header["state"], "part": None}}
    folder.write_bytes(EPOCHS_FILE, json.dumps(kept).encode())
    folder.delete(LAST)


def _read_epochs(folder: Folder) -> TrainingState:
    try:
        return _parse_state(json.loads(folder.read_bytes(EPOCHS_FILE))["state"], {})
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.locate(EPOCHS_FILE)}: is damaged: {error!r}") from error


def save_ranks(folder: Folder, epoch: int, kept: Mapping[str, np.ndarray]) -> None:
    """Keep what every validation query got in an epoch, as a safetensors file.

    Args:
        folder: The trial's folder.
        epoch: The epoch.
        kept: Ranks and shares of metrics by name, see `Evaluation.kept`.
    """
    content = save({name: torch.from_numpy(values) for name, values in kept.items()})
    folder.child(_RANKS).write_bytes(f"epoch-{epoch:04d}.safetensors", content)


_LEFT = "another trial left it: remove the folder, or train in another one"


def _check_same(
    folder: Folder, header: dict[str, Any], settings: Settings, store_fingerprint: str
) -> None:
    if header["store_fingerprint"] != store_fingerprint:
        raise CheckpointError(
            f"{folder.uri}/{LAST}: was trained on a store with fingerprint "
            f"{header['store_fingerprint'][:12]}, this one has {store_fingerprint[:12]}; {_LEFT}"
        )
    ours = _resumable(settings.model_dump(mode="json"))
    theirs = _with_added(_resumable(header["settings"]))
    different = [
        f"{section}.{key} is {theirs.get(section, {}).get(key)!r}, wanted {value!r}"
        for section, values in ours.items()
        for key, value in values.items()
        if theirs.get(section, {}).get(key) != value
    ]
    if different:
        raise CheckpointError(
            f"{folder.uri}/{LAST}: was trained with other settings: {'; '.join(different)}; {_LEFT}"
        )


def _resumable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings less the number of epochs: a longer budget continues exactly from a shorter one."""
    training = {key: value for key, value in settings["training"].items() if key != "epochs"}
    return {**settings, "training": training}


def _with_added(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file, those that its version did not have at their default."""
    default = flat_settings(Settings())
    for path in ADDED_SETTINGS:
        section, _, key = path.partition(".")
        settings[section] = {key: default[path], **settings.get(section, {})}
    return settings


def _state_json(state: TrainingState) -> dict[str, Any]:
    whole = asdict(replace(state, part=None))
    if state.part:
        whole["part"] = {name: getattr(state.part, name) for name in _PART_NUMBERS}
    return {**whole, "best_value": _json_number(state.best_value)}


def _parse_state(content: dict[str, Any], random: Mapping[str, Tensor]) -> TrainingState:
    best_value = content["best_value"]
    part = content.get("part")  # older files lack the key
    return TrainingState(
        epoch=content["epoch"],
        best_epoch=content["best_epoch"],
        best_value=-float("inf") if best_value is None else best_value,
        reports=_parse_reports(content["reports"]),
        part=PartOfEpoch(**part, random=random) if part else None,
    )


def _parse_reports(rows: Sequence[dict[str, Any]]) -> tuple[EpochReport, ...]:
    return tuple(EpochReport(row["epoch"], row["metrics"], row["timestamp_ms"]) for row in rows)


def _json_number(value: float) -> float | None:
    return value if np.isfinite(value) else None
