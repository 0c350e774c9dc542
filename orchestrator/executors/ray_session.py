"""The Ray of one sweep: one of our own on this machine, or one that is already running.

Our own listens on loopback and requires a token; its files are in a temporary folder, and its
output is turned off.

The sweep attaches to a running Ray and never stops it. What the sweep started there ends with the
connection; authentication comes from the environment.
"""

import logging
import secrets
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import ray

from orchestrator.base.errors import RayChangedError
from orchestrator.base.machine import VISIBLE_GPUS, Gpu, available_cpus
from orchestrator.cluster.attached_process import attached
from orchestrator.cluster.capacity import DRIVER_RESOURCE
from orchestrator.cluster.ray_environment import (
    environment,
    own_signals,
    quiet,
    ray_variables,
    replaced,
)
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.process_guard import ProcessGuard

try:
    from ray._private import services
except ImportError as error:
    raise RayChangedError(str(error)) from error

# Ray's minimum: rows and requests are a few kilobytes, and features come from the page cache.
_OBJECT_STORE_BYTES = 80 * 2**20


@contextmanager
def own_ray(threads: int, gpus: Sequence[Gpu], interruption: Interruption) -> Iterator[Path]:
    """A Ray of our own while the block runs; yields its scratch folder.

    Its socket paths must be shorter than 108 characters, hence /tmp whatever TMPDIR says.

    Args:
        threads: Threads of a worker's numerical libraries.
        gpus: The GPUs that it may hand out.
        interruption: Takes Ctrl-C.
    """
    variables = {**ray_variables(threads), **_token()}
    if gpus:
        variables[VISIBLE_GPUS] = ",".join(gpu.identity for gpu in gpus)
    scratch = Path(tempfile.mkdtemp(prefix="prvr-", dir="/tmp"))
    guard = ProcessGuard(scratch)
    has_started = False
    with environment(variables), quiet(), _loopback(), own_signals():
        try:
            _start_interruptibly(scratch, len(gpus), interruption)
            has_started = True
            yield scratch
        finally:
            ray.shutdown()
            # A start that was interrupted leaves nothing worth waiting for.
            guard.finish(at_once=not has_started)


def _start_interruptibly(scratch: Path, num_gpus: int, interruption: Interruption) -> None:
    with interruption.at_once():
        _start_ray(scratch, num_gpus)
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
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(scratch / "ray"),
    )


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
    variables = ray_variables(threads)
    namespace = f"prvr-{uuid.uuid4().hex}"
    with (
        tempfile.TemporaryDirectory(prefix="prvr-", ignore_cleanup_errors=True) as scratch,
        environment(variables),
        quiet(),
        own_signals(),
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
