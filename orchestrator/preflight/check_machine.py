"""What a Ray of our own needs of this machine: ports on loopback, scratch space, memory."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from orchestrator.base.errors import TrackingError
from orchestrator.base.machine import available_cpus, hardware
from orchestrator.base.our_code import DEVICES, environment_with_our_code
from orchestrator.preflight.finding import Finding, fine, problem, warning
from orchestrator.tracking.ui import DEFAULT_PORT, HOST, check_port

# Sockets and logs of Ray; its object store, see `own_ray`.
_SCRATCH = Path("/tmp")
_SCRATCH_BYTES = 500 * 2**20
_SHARED = Path("/dev/shm")
_SHARED_BYTES = 100 * 2**20
# Ray and one worker with torch.
_MEMORY_BYTES = 2 * 2**30


def check_machine() -> list[Finding]:
    """Ports, scratch space and memory."""
    return [
        check_loopback(),
        check_ui_port(DEFAULT_PORT),
        check_space("scratch", _SCRATCH, _SCRATCH_BYTES, "Ray's sockets and logs"),
        check_space("scratch", _SHARED, _SHARED_BYTES, "Ray's objects"),
        check_memory(psutil.virtual_memory().available),
    ]


def check_loopback(host: str = HOST) -> Finding:
    """Whether a server of this user can be reached on this machine."""
    try:
        with socket.socket() as server:
            server.bind((host, 0))
            server.listen()
            socket.create_connection(server.getsockname(), 5.0).close()
    except OSError as error:
        remedy = f"let this user listen on {host}: Ray and MLflow live there"
        return problem("ports", f"no server can be reached on {host}: {error.strerror}", remedy)
    return fine("ports", f"servers on {host} can be reached")


def check_ui_port(port: int) -> Finding:
    """The port of `prvr-sweep ui`."""
    try:
        check_port(port)
    except TrackingError as error:
        return warning("ports", str(error), "`prvr-sweep ui --port N`, or end what listens there")
    return fine("ports", f"{port} is free for `prvr-sweep ui`")


def check_space(check: str, folder: Path, least_bytes: int, purpose: str) -> Finding:
    """Room in a folder of the system."""
    if not folder.is_dir():
        return problem(check, f"{folder} is missing; it holds {purpose}", f"mount {folder}")
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**20:.0f} MiB free in {folder} for {purpose}"
    if free < least_bytes:
        remedy = f"free {least_bytes / 2**20:.0f} MiB there; in containers: --shm-size, --tmpfs"
        return problem(check, message, remedy)
    return fine(check, message)


def check_memory(available_bytes: int) -> Finding:
    """Memory that is free now."""
    message = f"{available_bytes / 2**30:.1f} GiB of memory free, {available_cpus()} CPUs"
    if available_bytes < _MEMORY_BYTES:
        remedy = "end other programs, or run one trial at a time (--set concurrency=1)"
        return warning("memory", message, remedy)
    return fine("memory", message)


# This machine's GPUs as its driver counts them and as torch sees them, and NCCL.


# Importing torch takes seconds, the first use of a GPU as many again.
_LIMIT_S = 120.0


def check_devices() -> list[Finding]:
    """GPUs of this machine; torch is asked in a process of its own, which it can bring down."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", DEVICES],
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
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return judge_devices("", hardware()["gpus"], json.loads(done.stdout), visible)


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
