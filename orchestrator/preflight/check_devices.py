"""Checks GPUs: as the driver counts them, as torch sees them, and whether NCCL is there."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.base.machine import VISIBLE_GPUS, installed_gpus
from orchestrator.base.our_code import DEVICES, environment_with_our_code, module_command
from orchestrator.preflight.finding import Finding, fine, problem

# Importing torch takes seconds, the first use of a GPU as many again.
_LIMIT_S = 120.0


def check_devices() -> list[Finding]:
    """GPUs of this machine; torch is asked in a process of its own, which it can bring down."""
    try:
        done = subprocess.run(
            module_command(DEVICES),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
            env=environment_with_our_code(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        remedy = "run `python -c 'import torch; torch.cuda.init()'` and mend what it says"
        return [problem("gpu", f"torch does not start: {said[-1]}", remedy)]
    visible = os.environ.get(VISIBLE_GPUS)
    return judge_devices(
        "", [gpu.name for gpu in installed_gpus()], json.loads(done.stdout), visible
    )


def judge_devices(
    place: str, present: Sequence[str], seen: Mapping[str, Any], visible: str | None
) -> list[Finding]:
    """Compare a driver's GPUs with torch's.

    Args:
        place: Beginning of each message, e.g. `node 10.0.0.2: `; empty: this machine.
        present: Names of GPUs by `nvidia-smi`.
        seen: Fields of `prvr_model.training.devices.Devices`.
        visible: CUDA_VISIBLE_DEVICES where torch looked; None: not set.
    """
    gpus = seen["gpus"]
    if len(gpus) < len(present) and visible is None:
        return [_unseen(place, present, seen)]
    if not gpus:
        hidden = f"; {len(present)} hidden by CUDA_VISIBLE_DEVICES={visible}" if present else ""
        return [fine("gpu", f"{place}no GPU{hidden}; trials run on CPUs")]
    found = fine("gpu", f"{place}{len(gpus)} GPU ({', '.join(sorted(set(gpus)))})")
    if seen["nccl"] is None and len(gpus) > 1:
        return [found, _no_nccl(place, seen)]
    nccl = f"{place}NCCL {seen['nccl']}" if seen["nccl"] else f"{place}none; one GPU needs none"
    return [found, fine("nccl", nccl)]


def _unseen(place: str, present: Sequence[str], seen: Mapping[str, Any]) -> Finding:
    message = f"{place}the machine has {len(present)} GPU, torch {seen['torch']} sees "
    message += f"{len(seen['gpus'])}"
    if seen["cuda"] is None:
        return problem(
            "gpu", f"{message}: it is built without CUDA", "install a CUDA build of torch"
        )
    remedy = f"install a driver for CUDA {seen['cuda']} or a torch for the driver that is there"
    return problem("gpu", message, remedy)


def _no_nccl(place: str, seen: Mapping[str, Any]) -> Finding:
    message = f"{place}torch {seen['torch']} has no NCCL; trials of several workers need it"
    return problem("nccl", message, "install torch for Linux from PyPI, which brings NCCL along")
