"""The Ray of one sweep: one of our own on this machine, or one that is already running.

Our own listens on loopback and asks for a token; its files are in a short-lived folder, and what it
would print is turned off.

A running Ray is attached to for as long as the sweep runs and is never stopped. What the sweep
started there ends with its connection; authentication is the environment's.
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

# Ray's smallest: rows and requests are a few kilobytes, and features come from the page cache.
_OBJECT_STORE_BYTES = 80 * 2**20


@contextmanager
def own_ray(threads: int, gpus: Sequence[Gpu], interruption: Interruption) -> Iterator[Path]:
    """A Ray of our own for as long as the block runs; gives its scratch folder.

    Its socket paths must be shorter than 108 letters, hence /tmp whatever TMPDIR says.

    Args:
        threads: Threads of a worker's numerical libraries.
        gpus: The GPUs that it may hand out.
        interruption: The user's wish to end.
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
            # Of a start that was broken off nothing is worth waiting for.
            guard.finish(at_once=not has_started)


def _start_interruptibly(scratch: Path, num_gpus: int, interruption: Interruption) -> None:
    with interruption.at_once():
        _start_ray(scratch, num_gpus)
    interruption.listen_again()
    # Ray's start may have swallowed the wish.
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
    """Ray runs whatever it is sent, and other users of this machine reach 127.0.0.1 as well.

    A token of our own keeps them out; by default Ray would write one to the user's home.
    """
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _loopback() -> AbstractContextManager[None]:
    """Ray takes 127.0.0.1 for a mistake and listens on the network instead."""
    return replaced(services, "resolve_ip_for_localhost", str)


@contextmanager
def attached_ray(address: str, threads: int, interruption: Interruption) -> Iterator[Path]:
    """This process as a sweep's driver on a running cluster; gives its scratch folder.

    `cluster_query` has asked the cluster before: this waits for it without a limit of its own, but
    Ctrl-C is heard.

    Args:
        address: `auto`, or HOST:PORT of its head.
        threads: Threads of a worker's numerical libraries.
        interruption: The user's wish to end.

    Raises:
        ClusterError: There is no cluster any more, or it refuses.
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
