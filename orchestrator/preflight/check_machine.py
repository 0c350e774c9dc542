"""Checks this machine for a Ray that a sweep starts: ports on loopback, scratch space, memory."""

import shutil
import socket
from pathlib import Path

import psutil

from orchestrator.base.errors import TrackingError
from orchestrator.base.machine import available_cpus
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
