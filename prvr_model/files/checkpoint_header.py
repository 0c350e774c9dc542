"""What a trial's checkpoint says about itself, read without its tensors and without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from prvr_model.errors import CheckpointError
from prvr_model.files.folder import Folder
from prvr_model.reporting import EpochReport

LAST = "last.safetensors"
BEST = "best.safetensors"
# What remains of `LAST` when it is freed.
EPOCHS_FILE = "epochs.json"
HEADER = "prvr_sweep"
WEIGHT = "model."

# The file starts with the length of its JSON header, 8 bytes little-endian.
_LENGTH_BYTES = 8
# The header is read in pieces of this size; one of 100 epochs takes about 300 kB.
_PIECE_BYTES = 1 << 20
# The format's own limit: a damaged length must not make us allocate all memory.
_MOST_BYTES = 100_000_000


@dataclass(frozen=True)
class TrialRecord:
    """What a trial's folder records of its training.

    Args:
        reports: Every epoch's row, in order.
        parameters: Number of the model's parameters; None if the checkpoint was freed.
    """

    reports: tuple[EpochReport, ...]
    parameters: int | None


def read_record(folder: Folder) -> TrialRecord:
    """Rows and size of a trial from its last checkpoint, or from what remains of a freed one.

    Raises:
        CheckpointError: Both are missing, or the file is damaged.
        StorageError: The folder cannot be read.
    """
    if folder.exists(LAST):
        return _record_of_checkpoint(folder)
    if not folder.exists(EPOCHS_FILE):
        raise CheckpointError(f"{folder.uri}: has neither {LAST} nor {EPOCHS_FILE}")
    try:
        state = json.loads(folder.read_bytes(EPOCHS_FILE))["state"]
        return TrialRecord(_reports(state), None)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.locate(EPOCHS_FILE)}: is damaged: {error!r}") from error


def read_header(folder: Folder, name: str) -> tuple[dict[str, Any], int]:
    """Header of a file of tensors, and how many bytes of the tensors it lacks.

    Raises:
        CheckpointError: The header is missing or damaged.
        StorageError: The file is missing or cannot be read.
    """
    try:
        text = _header_bytes(folder, name)
        header = dict(json.loads(text))
        ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
        size = folder.sizes()[name]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder.locate(name)}: is damaged: {error!r}") from error
    return header, _LENGTH_BYTES + len(text) + max(ends, default=0) - size


def _record_of_checkpoint(folder: Folder) -> TrialRecord:
    try:
        header = json.loads(_header_bytes(folder, LAST))
        state = json.loads(header["__metadata__"][HEADER])["state"]
        return TrialRecord(_reports(state), _num_parameters(header))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.locate(LAST)}: is damaged: {error!r}") from error


def _header_bytes(folder: Folder, name: str) -> bytes:
    content = b""
    for piece in folder.read_pieces(name, _PIECE_BYTES):
        content += piece
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        if length > _MOST_BYTES:
            raise ValueError(f"a header of {length} bytes")
        if len(content) >= _LENGTH_BYTES + length:
            return content[_LENGTH_BYTES : _LENGTH_BYTES + length]
    raise ValueError("it ends within its header")


def _reports(state: Mapping[str, Any]) -> tuple[EpochReport, ...]:
    return tuple(
        EpochReport(row["epoch"], row["metrics"], row["timestamp_ms"]) for row in state["reports"]
    )


def _num_parameters(header: Mapping[str, Any]) -> int:
    return sum(prod(value["shape"]) for name, value in header.items() if name.startswith(WEIGHT))
