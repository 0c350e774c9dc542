"""Checks this machine for a Ray that a sweep starts: ports, scratch space, CPUs, memory, limits."""

import shutil
import socket
from pathlib import Path

from orchestrator.base.errors import TrackingError
from orchestrator.base.holdings import held_by_others
from orchestrator.base.machine import Cpus, Memory, allowed_cpus, memory, open_files, processes_left
from orchestrator.base.text import command, count, gib
from orchestrator.preflight.finding import Finding, fine, problem, warning
from orchestrator.tracking.ui import DEFAULT_PORT, HOST, check_port

# Sockets and logs of Ray; its object store, see `own_ray`.
_SCRATCH = Path("/tmp")
_SCRATCH_BYTES = 500 * 2**20
_SHARED = Path("/dev/shm")
_SHARED_BYTES = 100 * 2**20
# Ray and one worker with torch.
_MEMORY_BYTES = 2 * 2**30
# Ray's own recommendation, and its threads on two CPUs with room for trials.
_FILES = 1024
_PROCESSES = 500


def check_machine(home: Path | None = None) -> list[Finding]:
    """Ports, room, and the sweeps that run here; `home` is that of commands, None: the default."""
    return [
        check_loopback(),
        check_ui_port(DEFAULT_PORT, home),
        *check_room(),
        *(fine("sweeps", f"running here: {held}") for held in held_by_others()),
    ]


def check_room() -> list[Finding]:
    """Scratch space, CPUs, memory and limits: also looked at before each sweep, in no time."""
    return [
        check_space("scratch", _SCRATCH, _SCRATCH_BYTES, "Ray's sockets and logs"),
        check_space("scratch", _SHARED, _SHARED_BYTES, "Ray's objects"),
        check_cpus(allowed_cpus()),
        check_memory(memory()),
        check_limits(open_files(), processes_left()),
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


def check_ui_port(port: int, home: Path | None = None) -> Finding:
    """The port of `prvr-sweep ui`."""
    try:
        check_port(port)
    except TrackingError as error:
        other = command("ui", home=home, port=port + 1)
        return warning("ports", str(error), f"`{other}`, or end what listens there")
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


def check_cpus(cpus: Cpus) -> Finding:
    """CPUs that this process may use, and what makes them fewer than the machine has."""
    whole = "" if cpus.allowed >= cpus.machine else f" of the machine's {cpus.machine}"
    message = f"{count(cpus.allowed, 'CPU')}{whole}"
    if cpus.allowed < 1:
        remedy = "give the container a whole CPU (docker: --cpus)"
        return warning("cpus", f"{message}; trials will be slow", remedy)
    return fine("cpus", message)


def check_memory(memory: Memory) -> Finding:
    """Memory that is free now."""
    limit = f" of a limit of {gib(memory.total_bytes)}" if memory.is_limited else ""
    message = f"{gib(memory.available_bytes)} of memory free{limit}"
    if memory.available_bytes < _MEMORY_BYTES:
        remedy = "end other programs, raise the container's limit (docker: --memory), or run one "
        return warning("memory", message, remedy + "trial at a time (--set concurrency=1)")
    return fine("memory", message)


def check_limits(files: int | None, processes: int | None) -> Finding:
    """Open files and processes that this user may have; None: no limit.

    Args:
        files: Open files of one process.
        processes: Processes and threads that may still be started.
    """
    message = f"{_amount(files)} open files, {_amount(processes)} more processes and threads"
    if files is not None and files < _FILES:
        return warning("limits", message, f"`ulimit -n {_FILES}` in the shell before the sweep")
    if processes is not None and processes < _PROCESSES:
        remedy = f"allow {_PROCESSES} (`ulimit -u`; docker: --pids-limit)"
        return warning("limits", message, remedy)
    return fine("limits", message)


def _amount(limit: int | None) -> str:
    return "any number of" if limit is None else str(limit)
