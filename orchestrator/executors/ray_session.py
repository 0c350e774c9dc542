"""The Ray of one sweep: one of our own on this machine, or one that is already running.

Our own listens on loopback and requires a token; its files are in a temporary folder, and its
output is turned off.

The sweep attaches to a running Ray and never stops it. What the sweep started there ends with the
connection; authentication comes from the environment.
"""

import logging
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import ray

from orchestrator.base.errors import LocationError, RayChangedError, RayFailedError
from orchestrator.base.machine import VISIBLE_GPUS, Gpu, available_cpus
from orchestrator.base.stopwatch import phase
from orchestrator.base.text import error_line, gib
from orchestrator.cluster.attached_process import attached
from orchestrator.cluster.capacity import DRIVER_RESOURCE
from orchestrator.cluster.ray_environment import (
    environment,
    job_on_our_path,
    leave_ray,
    own_ray_variables,
    own_start,
    quiet,
    ray_variables,
    replaced,
)
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.process_guard import OWNER, ProcessGuard
from prvr_model.errors import PrvrError

try:
    from ray._private import services
except ImportError as error:
    raise RayChangedError(str(error)) from error

# Ray's minimum: rows and requests are a few kilobytes, and features come from the page cache.
_OBJECT_STORE_BYTES = 80 * 2**20
# Its logs, and its objects where /dev/shm is small.
_SCRATCH_BYTES = 200 * 2**20
# Ray's sockets lie 70 letters deeper than the folder, and Linux takes 107 in all.
_LONGEST_SCRATCH = 37
# Of a log, the end is where it happened; of many workers, the last ones saw it.
_KEPT_BYTES, _KEPT_LOGS = 64 * 2**10, 40


@contextmanager
def own_ray(
    threads: int, gpus: Sequence[Gpu], interruption: Interruption, logs: Path | None = None
) -> Iterator[Path]:
    """A Ray of our own while the block runs; yields its scratch folder.

    Args:
        threads: Threads of a worker's numerical libraries.
        gpus: The GPUs that it may hand out.
        interruption: Takes Ctrl-C.
        logs: Where to keep the ends of its logs if it does not start; None: nowhere.

    Raises:
        RayFailedError: It does not start.
        LocationError: There is no room for its files.
    """
    _refuse_second()
    variables = {**own_ray_variables(threads), **_token()}
    scratch = _new_scratch()
    variables[OWNER] = str(scratch)
    if gpus:
        variables[VISIBLE_GPUS] = ",".join(gpu.identity for gpu in gpus)
    guard = ProcessGuard(scratch)
    has_started = False
    with environment(variables), quiet(), _loopback(), own_start():
        try:
            with phase("Ray's start"):
                _start_interruptibly(scratch, len(gpus), interruption, logs)
            has_started = True
            yield scratch
        finally:
            with phase("Ray's end"):
                _end_ray(guard, at_once=not has_started)


def _end_ray(guard: ProcessGuard, *, at_once: bool) -> None:
    try:
        leave_ray()
    finally:
        # Of a start that was broken off nothing is worth waiting for.
        guard.finish(at_once=at_once)


def _refuse_second() -> None:
    """A process has one Ray at most, and the end of ours would end it."""
    if ray.is_initialized():
        # Not as advice, in whose place a sweep says how it continues.
        raise RayFailedError("this process is connected to a Ray; call `ray.shutdown()` first")


def _new_scratch() -> Path:
    """A new folder: in /tmp whatever TMPDIR says, for a short path, or where else there is room."""
    found = []
    for place in dict.fromkeys(("/tmp", tempfile.gettempdir(), "/var/tmp", "/dev/shm")):
        with suppress(OSError):
            free_bytes = shutil.disk_usage(place).free
            found.append(f"{place} ({gib(free_bytes)} free)")
            if free_bytes >= _SCRATCH_BYTES:
                folder = Path(tempfile.mkdtemp(prefix="prvr-", dir=place))
                if len(str(folder)) <= _LONGEST_SCRATCH:
                    return folder
                folder.rmdir()
    raise LocationError(
        f"no folder for Ray's files: it needs {gib(_SCRATCH_BYTES)} free in a folder that can be "
        f"written and whose path is short; found {', '.join(found) or 'none'}. Make room in /tmp, "
        "or set TMPDIR to such a folder"
    )


def _start_interruptibly(
    scratch: Path, num_gpus: int, interruption: Interruption, logs: Path | None
) -> None:
    with interruption.at_once():
        try:
            _start_ray(scratch, num_gpus)
        except PrvrError:
            raise
        except Exception as error:
            kept = keep_logs(scratch, logs)
            raise RayFailedError(f"Ray does not start: {error_line(error)}{kept}") from error
    interruption.listen_again()
    # Ray's start may have swallowed the interrupt.
    interruption.check()


def _start_ray(scratch: Path, num_gpus: int) -> None:
    ray.init(
        address="local",
        num_cpus=available_cpus(),
        num_gpus=num_gpus,
        resources={DRIVER_RESOURCE: 1},
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        job_config=job_on_our_path(),
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(scratch / "ray"),
    )


def keep_logs(scratch: Path, folder: Path | None) -> str:
    """Copy the ends of a Ray's logs out of its scratch folder, which goes with it.

    Args:
        scratch: Of a Ray of our own.
        folder: Where to, in place of what was kept there before; None: nowhere.

    Returns:
        Words for a message about what happened: where they are; empty where there are none.
    """
    written = sorted(
        (log for log in (scratch / "ray").glob("session_2*/logs/*") if log.is_file()),
        key=lambda log: log.stat().st_mtime,
    )
    if folder is None or not written:
        return ""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for log in written[-_KEPT_LOGS:]:
            with log.open("rb") as whole:
                whole.seek(max(0, log.stat().st_size - _KEPT_BYTES))
                (folder / log.name).write_bytes(whole.read(_KEPT_BYTES))
    except OSError as error:
        return f"; its logs could not be kept ({error_line(error)})"
    return f"; the ends of its logs are in {folder}"


def _token() -> dict[str, str]:
    """A token that keeps other users out: they reach 127.0.0.1, and Ray runs whatever it is sent.

    By default Ray would write a token to the user's home.
    """
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _loopback() -> AbstractContextManager[None]:
    """Let Ray listen on 127.0.0.1, which it would replace by a network address."""
    return replaced(services, "resolve_ip_for_localhost", str)


@contextmanager
def attached_ray(address: str, threads: int, interruption: Interruption) -> Iterator[Path]:
    """Attach this process to a running cluster as a sweep's driver; yields a scratch folder.

    `cluster.client` has reached the cluster before, so this has no time limit; Ctrl-C stops it.

    Args:
        address: `auto`, or HOST:PORT of its head.
        threads: Threads of a worker's numerical libraries.
        interruption: Takes Ctrl-C.

    Raises:
        ClusterError: The cluster is gone, or it refuses.
    """
    _refuse_second()
    variables = ray_variables(threads)
    namespace = f"prvr-{uuid.uuid4().hex}"
    with (
        tempfile.TemporaryDirectory(prefix="prvr-", ignore_cleanup_errors=True) as scratch,
        environment(variables),
        quiet(),
    ):
        connection = attached(address, namespace=namespace, variables=variables)
        with interruption.at_once():
            connection.__enter__()
        try:
            interruption.listen_again()
            interruption.check()
            yield Path(scratch)
        finally:
            connection.__exit__(None, None, None)
