"""What torch sees of a machine's GPUs, as JSON: `python -m prvr_model.training.devices`."""

import json
import sys
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class Devices:
    """GPUs as torch finds them.

    Args:
        torch: Version of torch, build included.
        cuda: Version of CUDA that torch was built with; None if built without.
        gpus: Names of the GPUs that can be used.
        nccl: Version of NCCL; None without it.
    """

    torch: str
    cuda: str | None
    gpus: tuple[str, ...]
    nccl: str | None


def find_devices() -> Devices:
    """Look at this machine."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    return Devices(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(count)),
        nccl=".".join(map(str, torch.cuda.nccl.version())) if has_nccl else None,
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(find_devices())) + "\n")
