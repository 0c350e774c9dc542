"""Where an encoder's files are on this machine, and what identifies them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from prvr_model.errors import DataError

# What `transformers` needs besides the weights; never a pickle.
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder's folder, and the name by which recipes call it."""

    folder: Path
    name: str

    def weights_sha256(self) -> str:
        """Digest of the weights: of all safetensors files, in the order of their names."""
        digest = hashlib.sha256()
        for path in _weights(self.folder):
            with path.open("rb") as stream:
                while piece := stream.read(_PIECE_BYTES):
                    digest.update(piece)
        return digest.hexdigest()


def find_encoder(name_or_folder: str) -> EncoderFiles:
    """The files of an encoder: a folder's own, else those in the Hugging Face cache or on its hub.

    Raises:
        DataError: They are nowhere, or the weights are not safetensors.
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        files = EncoderFiles(folder, folder.resolve().name)
    else:
        files = EncoderFiles(_from_hub(name_or_folder), name_or_folder)
    if not (files.folder / "config.json").is_file():
        raise DataError(f"encoder {name_or_folder}: {files.folder} has no config.json")
    if not _weights(files.folder):
        raise DataError(
            f"encoder {name_or_folder}: {files.folder} has no *.safetensors file, and weights of "
            "other kinds are not read; convert them with `save_pretrained`"
        )
    return files


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HFValidationError

    for is_offline in (True, False):
        try:
            found = Path(
                snapshot_download(name, local_files_only=is_offline, allow_patterns=_FILES)
            )
        except (OSError, ValueError, RuntimeError, HFValidationError):
            # Each version of the hub's client has errors of its own for a name that leads nowhere.
            continue
        if _weights(found) or not is_offline:
            return found
    raise DataError(
        f"encoder {name} is no folder here, is not in the cache {HF_HUB_CACHE} and cannot be "
        f"downloaded: put its config.json, *.safetensors, preprocessor and tokenizer files into a "
        f"folder and give that folder, or copy them into the cache from a machine with network "
        f"(`hf download {name}`)"
    )
